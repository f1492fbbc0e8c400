// The one credential of this page: vended when needed, renewed before it ends, kept in memory. Only s3.js reads the secret.

import { vend } from "./api.js";

export const changes = new EventTarget();
let current = null;
let pending = null;
// `grants`: ids of what others share that the key is to read; null: the oldest, as many as it has room for.
const ANY = { access: "read_write", grants: null };
let wanted = ANY;

const serverNow = (held) => Date.now() + held.skew;

// A fifth of the lifetime, five minutes at most: before that the service would hand out the same one again.
const isDue = (held) => held.expiresAt - serverNow(held) < Math.min(300_000, held.lifetime / 5);

// Over quota nothing that writes is given: what is left is to look, and to make room.
async function vendOrLess(wish) {
  try {
    return await vend(wish);
  } catch (problem) {
    if (problem.code !== "quota_exceeded") throw problem;
    return { ...await vend({ ...wish, access: "read_delete" }), full: true };
  }
}

async function obtain(wish) {
  const asked = Date.now();
  const answer = await vendOrLess(wish);
  const answered = Date.now();
  return {
    ...answer,
    expiresAt: Date.parse(answer.expiration),
    lifetime: answer.expires_in * 1000,
    skew: Date.parse(answer.server_time) - (asked + answered) / 2,
    signingKeys: new Map(),
  };
}

function renew() {
  if (pending) return pending;
  const attempt = obtain(wanted)
    .then((held) => {
      // Signed out, or asked for another one meanwhile: this answer is nobody's any more.
      if (pending !== attempt) return fresh();
      current = held;
      changes.dispatchEvent(new Event("renewed"));
      return held;
    })
    .finally(() => { if (pending === attempt) pending = null; });
  pending = attempt;
  return attempt;
}

export async function fresh() {
  const held = current;
  if (held && !isDue(held)) return held;
  try {
    return await renew();
  } catch (problem) {
    // The service may be away for a while: what still lives at the engine still opens the folder.
    if (held && held === current && held.expiresAt > serverNow(held)) return held;
    throw problem;
  }
}

export async function replace(refused) {
  return current === refused ? renew() : fresh();
}

// For an upload: who was refused one asks again, for there may be room by now.
export async function writable() {
  const held = await fresh();
  return held.full ? renew() : held;
}

async function change(wish) {
  const before = wanted;
  wanted = { ...wanted, ...wish };
  pending = null;
  try {
    return await renew();
  } catch (problem) {
    wanted = before;
    throw problem;
  }
}

// One that reads these folders too, if the service lends it: what is shared may be newer than what this page holds.
export async function carrying(prefixes, grants = null) {
  const held = await fresh();
  return prefixes.every((prefix) => held.shared_prefixes.includes(prefix)) ? held : change({ grants });
}

export const mayWrite = () => current?.access === "write" || current?.access === "read_write";

export const choose = (access) => change({ access });

export function drop() {
  current = null;
  pending = null;
  wanted = ANY;
}

// S3 refuses a request dated more than 15 minutes off, so a device with a wrong clock signs with the service's time.
export const signingTime = (held) => new Date(serverNow(held)).toISOString().replace(/[:-]|\.\d{3}/g, "");

export function facts() {
  if (!current) return null;
  const { access: granted, bucket, prefix, region, endpoint_url: endpoint, skew, lifetime } = current;
  const id = current.access_key_id;
  return {
    access: granted, full: Boolean(current.full), bucket, prefix, region, endpoint, skew, lifetime,
    accessKeyId: id,
    keyId: `${id.slice(0, 4)}…${id.slice(-4)}`,
    remaining: Math.max(0, current.expiresAt - serverNow(current)),
    due: isDue(current),
  };
}
