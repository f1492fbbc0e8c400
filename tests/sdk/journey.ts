// An app in TypeScript: `node journey.js URL PHOTOGRAPH` tells what it saw as JSON.

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'

import { PutObjectCommand } from '@aws-sdk/client-s3'

import { createClient } from './client/index.js'
import { endAllSessions, getProfile, logIn, registerUser } from './sdk.gen.js'
import { expect, Refused, SignedOut, TokenStore } from './token-store.js'
import { Vendor } from './vendor.js'

const [url, photograph] = process.argv.slice(2) as [string, string]
const email = `${randomUUID()}@example.org`
const password = 'violet tractor moonlight'

const registration = { client: createClient({ baseUrl: url }), body: { email, password } }
await expect(registerUser(registration))
const refused = await expect(registerUser(registration)).catch((error) => (error as Refused).problem.code)

const saved: (string | null)[] = []
const store = new TokenStore(url, { save: (token) => void saved.push(token) })
await store.logIn({ email, password, device_name: "Ada's laptop" })
const profile = await expect(getProfile({ client: store.client }))

const vendor = new Vendor(store.client)
const s3 = await vendor.s3()
const { bucket, prefix } = vendor.vended!
const keys = [0, 1, 2].map((number) => `${prefix}${number}.jpg`)
for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: readFileSync(photograph) }))

const spent = await store.accessToken()
const tokens = new Set(await Promise.all(Array.from({ length: 10 }, () => store.accessToken(spent))))

const { expiration } = await new Vendor(store.client).provider()

// Signed out while it is renewed: what the renewal brings is no session any more.
const kept: (string | null)[] = []
const leaving = new TokenStore(url, { save: (token) => void kept.push(token) })
await leaving.logIn({ email, password, device_name: "Ada's old laptop" })
const left = leaving.accessToken(await leaving.accessToken()).then(
  () => false,
  (error) => error instanceof SignedOut && kept.at(-1) === null
)
await leaving.logOut()

// A store that is slower with the older than with the newer.
const slow: (string | null)[] = []
const write = async (token: string | null) => {
  if (token === 'older') await new Promise((resolve) => setTimeout(resolve, 200))
  slow.push(token)
}
const writing = new TokenStore(url, { save: write })
const session = await expect(logIn({ client: createClient({ baseUrl: url }), body: { email, password } }))
const [older, newer] = ['older', 'newer'].map((refresh_token) => ({ ...session.tokens!, refresh_token }))
await Promise.all([writing.adopt(older!), writing.adopt(newer!)])
const fail = (token: string | null) => (token === 'older' ? Promise.reject(new Error('full')) : void slow.push(token))
const failing = new TokenStore(url, { save: fail })
const full = await failing.adopt(older!).then(
  () => false,
  () => true
)
await failing.adopt(newer!)

const other = new TokenStore(url)
await other.logIn({ email, password, device_name: "Ada's other laptop" })
await expect(endAllSessions({ client: store.client }))
const ended = await expect(getProfile({ client: other.client })).then(
  () => false,
  (error) => error instanceof SignedOut
)
await store.logOut()
const signedOut = await store.accessToken().then(
  () => false,
  (error) => error instanceof SignedOut
)
console.log(
  JSON.stringify({
    refused,
    email: profile.email,
    role: profile.role,
    keys,
    tokens: tokens.size,
    seconds_left: (expiration.getTime() - Date.now()) / 1000,
    ended,
    signed_out: signedOut && (await left),
    saved: saved.map((token) => token !== null),
    in_order: full && slow.join() === 'older,newer,newer'
  })
)
