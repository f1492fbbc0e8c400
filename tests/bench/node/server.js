// The vend once more, as a good Node service does it: one process, prepared statements in a pool, kept-alive connections
// to STS, verified tokens remembered, schemas compiled for body and answer, the access log written in the background.

import { createPublicKey, randomUUID } from 'node:crypto'
import { Agent } from 'node:http'

import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { createVerifier } from 'fast-jwt'
import Fastify from 'fastify'
import pg from 'pg'
import pino from 'pino'

import { CredentialCache } from './cache.js'
import { RateLimit } from './limit.js'
import { narrowedPrefix, policy, roleSessionName } from './policy.js'
import { LOOK_UP, RECORD } from './statements.js'

const { BUCKET, CONNECTIONS, ISSUER, JWKS, LOG_FILE, REGION, ROLE_ARN, STS_ENDPOINT_URL } = process.env
const DURATION = 3600

const log = pino({ base: undefined }, pino.destination({ dest: LOG_FILE, minLength: 4096, sync: false }))
const pool = new pg.Pool({ max: Number(CONNECTIONS) }) // PGHOST and its like say where
const sts = new STSClient({
  region: REGION,
  endpoint: STS_ENDPOINT_URL,
  requestHandler: new NodeHttpHandler({
    connectionTimeout: 1000,
    requestTimeout: 2000,
    httpAgent: new Agent({ keepAlive: true, maxSockets: 64 })
  })
})
const limit = new RateLimit(60)
const cache = new CredentialCache(10_000)

const verifiers = new Map(
  JSON.parse(JWKS).keys.map((jwk) => [
    jwk.kid,
    createVerifier({
      key: createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }),
      algorithms: ['ES256'],
      allowedIss: ISSUER,
      allowedAud: `${ISSUER}/v1`,
      checkTyp: 'at+jwt',
      requiredClaims: ['sub', 'sid', 'exp', 'iat', 'jti', 'auth_time', 'client_id'],
      cache: 20_000
    })
  ])
)
const [verify] = verifiers.size === 1 ? verifiers.values() : [(token) => verifiers.get(kidOf(token))(token)]

function kidOf(token) {
  return JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url')).kid
}

class Refused extends Error {
  constructor(statusCode, code, retryAfter) {
    super(code)
    Object.assign(this, { statusCode, code, retryAfter })
  }
}

async function authenticate(request) {
  const header = request.headers.authorization
  if (!header?.startsWith('Bearer ')) throw new Refused(401, 'unauthenticated')
  let claims
  try {
    claims = verify(header.slice(7))
  } catch {
    throw new Refused(401, 'invalid_token')
  }
  const { rows } = await pool.query({ ...LOOK_UP, values: [claims.sid] })
  const [state] = rows
  if (!state || state.ended_at !== null || state.expires_at <= new Date() || state.user_id !== claims.sub) {
    throw new Refused(401, 'invalid_token')
  }
  if (state.status !== 'active') throw new Refused(403, 'account_disabled')
  request.actor = { userId: claims.sub, sessionId: claims.sid }
}

async function issue(order, request) {
  const answer = await sts.send(
    new AssumeRoleCommand({
      RoleArn: ROLE_ARN,
      RoleSessionName: order.roleSessionName,
      SourceIdentity: order.userId,
      Policy: order.policy,
      DurationSeconds: DURATION
    })
  )
  const issuedAt = new Date()
  const id = randomUUID()
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = answer.Credentials
  const { rowCount } = await pool.query({
    ...RECORD,
    values: [
      id,
      order.userId,
      order.sessionId,
      AccessKeyId,
      order.access,
      order.prefix,
      order.roleSessionName,
      answer.$metadata.requestId,
      issuedAt,
      Expiration,
      request.id,
      request.ip,
      JSON.stringify({ credential_id: id, access: order.access })
    ]
  })
  if (rowCount !== 1) throw new Refused(401, 'invalid_token') // signed out or disabled while STS worked
  return { id, order, AccessKeyId, SecretAccessKey, SessionToken, issuedAt, expiresAt: Expiration }
}

async function vend(request) {
  const { userId, sessionId } = request.actor
  const wait = limit.hit(userId)
  if (wait) throw new Refused(429, 'rate_limited', wait)
  const { access = 'read_write', path = '' } = request.body ?? {}
  const prefix = narrowedPrefix(userId, path)
  if (prefix === null) throw new Refused(422, 'invalid_path')
  const key = `${sessionId} ${access} ${prefix}`
  const issued = await cache.obtain(key, () =>
    issue(
      {
        userId,
        sessionId,
        access,
        prefix,
        policy: policy(BUCKET, prefix, access),
        roleSessionName: roleSessionName(userId, sessionId)
      },
      request
    )
  )
  const now = new Date()
  return {
    credential_id: issued.id,
    access_key_id: issued.AccessKeyId,
    secret_access_key: issued.SecretAccessKey,
    session_token: issued.SessionToken,
    expiration: rfc3339(issued.expiresAt),
    expires_in: Math.max(0, Math.floor((issued.expiresAt - now) / 1000)),
    server_time: rfc3339(now),
    access,
    bucket: BUCKET,
    prefix,
    shared_prefixes: [],
    write_prefixes: [],
    shared_part: 1,
    shared_parts: 1,
    region: REGION,
    endpoint_url: null,
    force_path_style: false
  }
}

function rfc3339(date) {
  return `${date.toISOString().slice(0, 19)}Z`
}

const app = Fastify({ disableRequestLogging: true, genReqId: () => randomUUID(), keepAliveTimeout: 75_000 })

app.addHook('onRequest', async (request, reply) => {
  reply.headers({ 'x-request-id': request.id, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
})
app.addHook('onResponse', (request, reply, done) => {
  log.info({
    method: request.method,
    route: request.routeOptions.url,
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime * 10) / 10,
    address: request.ip,
    request_id: request.id
  })
  done()
})
app.setErrorHandler((error, request, reply) => {
  const status = error.statusCode ?? 500
  if (status >= 500) log.error({ request_id: request.id, cause: error.name })
  if (error.retryAfter) reply.header('retry-after', error.retryAfter)
  reply.code(status).type('application/problem+json').send({ status, code: error.code, request_id: request.id })
})

const text = { type: 'string' }
app.post('/v1/empty', { schema: { response: { 200: { type: 'object', properties: { status: text } } } } }, async () => ({
  status: 'ok'
}))
app.post(
  '/v1/credentials',
  {
    onRequest: authenticate,
    schema: {
      body: {
        type: ['object', 'null'],
        additionalProperties: false,
        properties: { access: { enum: ['read', 'write', 'read_write'] }, path: { type: 'string', maxLength: 1024 } }
      },
      response: {
        200: {
          type: 'object',
          properties: {
            ...{ credential_id: text, access_key_id: text, secret_access_key: text, session_token: text },
            ...{ expiration: text, expires_in: { type: 'integer' }, server_time: text, access: text, bucket: text },
            ...{ prefix: text, shared_prefixes: { type: 'array', items: text } },
            ...{ write_prefixes: { type: 'array', items: text }, shared_part: { type: 'integer' } },
            ...{ shared_parts: { type: 'integer' }, region: text },
            ...{ endpoint_url: { type: ['string', 'null'] }, force_path_style: { type: 'boolean' } }
          }
        }
      }
    }
  },
  vend
)

process.on('SIGTERM', async () => {
  await app.close()
  await pool.end()
  log.flush(() => process.exit(0))
})
await app.listen({ host: '127.0.0.1', port: 0, backlog: 2048 })
console.log(app.server.address().port)
