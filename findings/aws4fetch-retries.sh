#!/usr/bin/env bash
# aws4fetch 1.0.20 on Node 20: how it answers a busy S3.
# Expected: a 503 with `Retry-After: 3` is tried again after three seconds, and a caller always learns of the 503.
# Seen: it tries again within a few tenths of a second, up to ten times, and never reads Retry-After. Where the body is a stream,
# which cannot be sent twice, the second try throws a TypeError about a disturbed body, and nobody is told of the 503.
# For an uploading page: send a Blob or bytes, or set `retries: 0` and wait as the answer says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-save --prefix . aws4fetch@1.0.20
cat >try.mjs <<'JS'
import assert from 'node:assert'
import { createServer } from 'node:http'
import { AwsClient } from 'aws4fetch'

let asked = []
const server = createServer((request, response) => {
  request.resume().on('end', () => {
    asked.push(performance.now())
    response.writeHead(asked.length < 3 ? 503 : 200, { 'Retry-After': '3' }).end()
  })
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${server.address().port}/photos/users/a/b.jpg`
const client = new AwsClient({ accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'example', service: 's3', region: 'us-east-1' })

async function put(body) {
  asked = []
  const answer = await client.fetch(url, { method: 'PUT', body, duplex: 'half' }).catch((error) => error)
  return answer instanceof Error ? `${answer.name}: ${answer.message}` : `${answer.status}`
}

const bytes = await put(new Uint8Array(5))
const waited = asked.at(-1) - asked[0]
console.log(`bytes: ${bytes} after ${asked.length} requests, all within ${waited < 3000 ? 'less' : 'more'} than one Retry-After`)
assert.equal(bytes, '200')
assert.equal(asked.length, 3)
assert(waited < 3000)

const stream = await put(new Blob(['hello']).stream())
console.log(`stream: ${stream} after ${asked.length} request`)
assert.match(stream, /^TypeError: .*(disturbed|locked)/)
assert.equal(asked.length, 1)
server.close()
JS
node try.mjs
