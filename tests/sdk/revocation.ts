// An app in TypeScript whose keys are revoked: `node revocation.js URL PHOTOGRAPH` tells what it saw as JSON.

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'

import { HeadObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3'

import { createClient } from './client/index.js'
import { registerUser, revokeCredentials } from './sdk.gen.js'
import { expect, TokenStore } from './token-store.js'
import { Vendor } from './vendor.js'

const [url, photograph] = process.argv.slice(2) as [string, string]
const email = `${randomUUID()}@example.org`
const password = 'violet tractor moonlight'
await expect(registerUser({ client: createClient({ baseUrl: url }), body: { email, password } }))
const store = new TokenStore(url)
await store.logIn({ email, password, device_name: "Ada's phone" })
const vendor = new Vendor(store.client)
const s3 = await vendor.s3()
const { bucket: Bucket, prefix } = vendor.vended!

async function put(number: number): Promise<string> {
  const Key = `${prefix}${number}.jpg`
  await s3.send(new PutObjectCommand({ Bucket, Key, Body: readFileSync(photograph) }))
  return Key
}

const refusal = (call: Promise<unknown>) => call.then(() => null).catch((error) => (error as Error).name)
const refusalOfHead = () => refusal(s3.send(new HeadObjectCommand({ Bucket, Key: `${prefix}0.jpg` })))
const refusalOfList = (Prefix: string) => refusal(s3.send(new ListObjectsV2Command({ Bucket, Prefix })))

const keys = [await put(0)]
await expect(revokeCredentials({ client: store.client }))
keys.push(...(await Promise.all([1, 2, 3, 4, 5].map(put))))
const read = [await refusalOfHead()]
const denied = [await refusalOfList('users/'), await refusalOfList('users/'), await refusalOfList('users/')]
await expect(revokeCredentials({ client: store.client }))
const paused = await refusalOfList(prefix)
const now = performance.now.bind(performance)
performance.now = () => now() + 61_000
read.push(await refusalOfHead(), await refusalOfList(prefix))
console.log(JSON.stringify({ keys, denied, paused, read }))
