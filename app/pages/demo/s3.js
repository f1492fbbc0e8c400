// S3 from the browser: every request is signed here with the vended credential and goes straight to the engine.

import { AwsV4Signer } from "./vendor/aws4fetch/aws4fetch.esm.js";
import * as credential from "./credential.js";

const OUTDATED = new Set(["ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"]);
const TRIES = 3;

export class Refusal extends Error {
  constructor(status, code, message) {
    super(message || `S3 answered ${status}.`);
    Object.assign(this, { status, code });
  }

  static parse(status, text) {
    const xml = text.trimStart().startsWith("<") ? parseXml(text) : null;
    const read = (name) => xml?.querySelector(name)?.textContent ?? "";
    return new Refusal(status, read("Code"), read("Message"));
  }

  static silence() {
    const words = navigator.onLine
      ? "S3 did not answer. If it never does, the bucket's CORS rules leave this page out."
      : "You are offline.";
    return new Refusal(0, "NoAnswer", words);
  }
}

export const parseXml = (text) => new DOMParser().parseFromString(text, "application/xml");

function address(held, key, query) {
  const base = new URL(held.endpoint_url ?? `https://s3.${held.region}.amazonaws.com`);
  const path = key.split("/").map(encodeURIComponent).join("/");
  const search = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  const host = held.force_path_style ? base.host : `${held.bucket}.${base.host}`;
  const root = held.force_path_style ? `/${held.bucket}/` : "/";
  return `${base.protocol}//${host}${root}${path}${search && `?${search}`}`;
}

export function sign(held, method, key, { query = {}, headers = {}, body } = {}) {
  return new AwsV4Signer({
    method,
    url: address(held, key, query),
    headers,
    body,
    accessKeyId: held.access_key_id,
    secretAccessKey: held.secret_access_key,
    sessionToken: held.session_token,
    service: "s3",
    region: held.region,
    datetime: credential.signingTime(held),
    cache: held.signingKeys,
  }).sign();
}

const pause = (attempt) => new Promise((done) => { setTimeout(done, 400 * 2 ** attempt * (0.5 + Math.random())); });

const isPassing = (error) => error instanceof Refusal && (error.status === 0 || error.status === 429 || error.status >= 500);

// The one to try again with. A revoked credential is denied as a foreign folder is: the service gives another one for
// it, and the same one where it is well.
async function successor(held, code) {
  if (!OUTDATED.has(code) && code !== "AccessDenied") return null;
  const next = await credential.replace(held);
  return code === "AccessDenied" && next.access_key_id === held.access_key_id ? null : next;
}

// Runs `act(credential)`: again once with a new credential if the engine calls the old one outdated, again a
// little later if the network or the engine stumbles. Everything done through here can be repeated safely.
export async function perform(act, signal) {
  let held = await credential.fresh();
  let renewed = false;
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await act(held);
    } catch (error) {
      const next = renewed ? null : await successor(held, error.code);
      if (next) {
        renewed = true;
        held = next;
      } else if (isPassing(error) && attempt < TRIES) {
        await pause(attempt);
      } else {
        throw error;
      }
    }
  }
}

async function exchange(held, method, key, { as = "text", signal, ...options }) {
  const signed = await sign(held, method, key, options);
  try {
    // Nothing of a person's pictures stays in the browser's cache after they sign out.
    const request = { method, headers: signed.headers, body: signed.body, signal, cache: "no-store", credentials: "omit" };
    const response = await fetch(signed.url, request);
    if (response.ok) return await response[as]();
    throw Refusal.parse(response.status, await response.text());
  } catch (error) {
    if (error instanceof Refusal || signal?.aborted) throw error;
    throw Refusal.silence();
  }
}

// Answers with the body, read `as` text or blob.
export const request = (method, key, options = {}) =>
  perform((held) => exchange(held, method, key, options), options.signal);

export const getPhoto = (key, signal) => request("GET", key, { as: "blob", signal });

export const deletePhoto = (key) => request("DELETE", key);

export async function listPage(prefix, { token, limit = 1000, signal } = {}) {
  const query = { "list-type": 2, prefix, "max-keys": limit };
  if (token) query["continuation-token"] = token;
  const xml = parseXml(await request("GET", "", { query, signal }));
  const read = (node, name) => node.querySelector(name)?.textContent ?? "";
  return {
    photos: [...xml.querySelectorAll("Contents")].map((node) => ({
      key: read(node, "Key"),
      size: Number(read(node, "Size")),
      modified: new Date(read(node, "LastModified")),
    })),
    next: read(xml, "IsTruncated") === "true" ? read(xml, "NextContinuationToken") : null,
  };
}

export async function listPhotos(signal) {
  return listFolder((await credential.fresh()).prefix, signal);
}

export async function listFolder(prefix, signal) {
  const photos = [];
  let token = null;
  do {
    const page = await listPage(prefix, { token, signal });
    photos.push(...page.photos);
    token = page.next;
  } while (token);
  return photos.filter(({ key }) => !key.endsWith("/"));
}
