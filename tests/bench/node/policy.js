// The session policy of one prefix: the same text that the Python service sends.

const READ = ['s3:GetObject']
const WRITE = ['s3:PutObject', 's3:AbortMultipartUpload', 's3:ListMultipartUploadParts']
const TAGS = ['s3:GetObjectTagging']
const ACTIONS = {
  read: [...READ, ...TAGS],
  write: WRITE,
  read_write: [...READ, ...WRITE, 's3:DeleteObject', ...TAGS],
}
const UNWANTED = /[*?$\\"\p{Cc}\p{Cs}]/u
const SEGMENTS = /^(?:(?!\.{1,2}\/)[^/]+\/)+$/

// null for a path that could widen or leave the prefix.
export function narrowedPrefix(userId, path) {
  if (path === '') return `users/${userId}/`
  if (UNWANTED.test(path) || Buffer.byteLength(path) > 256) return null
  let decoded
  try {
    decoded = decodeURIComponent(path)
  } catch {
    return null
  }
  return SEGMENTS.test(path) && SEGMENTS.test(decoded) ? `users/${userId}/${path}` : null
}

export function policy(bucket, prefix, access) {
  const arn = `arn:aws:s3:::${bucket}`
  const statements = [{ Sid: 'Objects', Effect: 'Allow', Action: ACTIONS[access], Resource: `${arn}/${prefix}*` }]
  if (access !== 'write') {
    const Condition = { StringLike: { 's3:prefix': [`${prefix}*`, prefix] } }
    statements.push({ Sid: 'List', Effect: 'Allow', Action: 's3:ListBucket', Resource: arn, Condition })
  }
  return JSON.stringify({ Version: '2012-10-17', Statement: statements })
}

export function roleSessionName(userId, sessionId) {
  return `${userId}.${Buffer.from(sessionId.replaceAll('-', ''), 'hex').toString('base64url')}`
}
