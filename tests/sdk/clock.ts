// An app in TypeScript on a device whose clock is off: `node clock.js URL PHOTOGRAPH HOURS` tells what it saw as JSON.
// It uploads in parts, and its keys are over before the last one.

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'

import { CompleteMultipartUploadCommand, CreateMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3'

import { createClient } from './client/index.js'
import { registerUser, revokeCredentials } from './sdk.gen.js'
import { expect, TokenStore } from './token-store.js'
import { Vendor } from './vendor.js'

const PART = 5 * 1024 * 1024
const [url, photograph, hours] = process.argv.slice(2) as [string, string, string]

// The device's clock, which AWS's SDK reads too.
let off = Number(hours) * 3_600_000
const RightDate = Date
globalThis.Date = class extends RightDate {
  constructor(...parts: [] | [number | string | Date]) {
    super(...((parts.length ? parts : [RightDate.now() + off]) as [number]))
  }
  static override now = () => RightDate.now() + off
} as DateConstructor

const email = `${randomUUID()}@example.org`
const password = 'violet tractor moonlight'
await expect(registerUser({ client: createClient({ baseUrl: url }), body: { email, password } }))
const store = new TokenStore(url)
await store.logIn({ email, password, device_name: "Ada's phone" })

const vendor = new Vendor(store.client)
const s3 = await vendor.s3()
const { bucket: Bucket, prefix } = vendor.vended!
const Key = `${prefix}film.mov`
const film = Buffer.alloc(PART + 1000, 'x')
readFileSync(photograph).copy(film)
const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }))
const used: string[] = []
const Parts: { PartNumber: number; ETag?: string | undefined }[] = []
for (const [index, Body] of [film.subarray(0, PART), film.subarray(PART)].entries()) {
  const PartNumber = index + 1
  const { ETag } = await s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }))
  Parts.push({ PartNumber, ETag })
  used.push(vendor.vended!.access_key_id)
  if (index === 0) {
    await expect(revokeCredentials({ client: store.client })) // so that the next ones are others
    off += 6 * 60_000
  }
}
await s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }))
console.log(JSON.stringify({ key: Key, size: film.length, used, link: null }))
