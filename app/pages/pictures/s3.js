// S3 from the browser: every request is signed here with the credential of the page, and goes straight to the engine.
// `../credential.js` and `../why.js` are those of the page that these files are served under.

import { AwsV4Signer } from "../vendor/aws4fetch/aws4fetch.esm.js";
import * as credential from "../credential.js";
import { renditionOf, sortOut } from "./folders.js";
import { S3_TEXTS } from "./texts.js";
import { whyRefused } from "../why.js";

const OUTDATED = new Set(["ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"]);
const TRIES = 3;

export class Refusal extends Error {
  constructor(status, code, message) {
    super(S3_TEXTS[code] ?? message ?? `S3 answered ${status}.`);
    Object.assign(this, { status, code, why: null });
  }

  static parse(status, text) {
    const xml = text.trimStart().startsWith("<") ? parseXml(text) : null;
    const read = (name) => xml?.querySelector(name)?.textContent ?? "";
    return new Refusal(status, read("Code"), `S3 answered ${status} ${read("Code")}.`);
  }

  static silence() {
    return new Refusal(0, navigator.onLine ? "NoAnswer" : "Offline");
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

// S3 says 403 and no more, so the service is asked why. `action` and `key` are what was tried.
async function explain(error, held, { action, key }) {
  if (error.status !== 403 || !action) return error;
  error.why = await whyRefused({ action, key: key || held.prefix, accessKeyId: held.access_key_id });
  if (error.why) error.message = error.why.text;
  return error;
}

// Runs `act(credential)`: again once with a new credential if the engine calls the old one outdated, again a
// little later if the network or the engine stumbles. Everything done through here can be repeated safely.
export async function perform(act, { signal, ...tried } = {}) {
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
        throw error instanceof Refusal ? await explain(error, held, tried) : error;
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

const ACTIONS = { GET: "s3:GetObject", PUT: "s3:PutObject", POST: "s3:PutObject", DELETE: "s3:DeleteObject" };

export function actionOf(method, key, query = {}) {
  if (method === "GET" && !key) return { action: "s3:ListBucket", key: query.prefix };
  if (method === "DELETE" && "uploadId" in query) return { action: "s3:AbortMultipartUpload", key };
  return { action: ACTIONS[method], key };
}

// Answers with the body, read `as` text or blob.
export const request = (method, key, options = {}) =>
  perform((held) => exchange(held, method, key, options), { signal: options.signal, ...actionOf(method, key, options.query) });

// What a browser would run as a document: others choose the type of what they contribute. Real pictures are shown
// without their type too.
const isDocument = (type) => !/^(image|video)\//.test(type) || /xml|svg/.test(type);

export async function getPhoto(key, signal) {
  const blob = await request("GET", key, { as: "blob", signal });
  return isDocument(blob.type) ? new Blob([blob], { type: "application/octet-stream" }) : blob;
}

// For something small; an upload with progress is upload.js's.
export async function putObject(key, blob) {
  const body = await blob.arrayBuffer();
  return request("PUT", key, { body, headers: { "Content-Type": blob.type || "application/octet-stream" } });
}

export const makeFolder = (key) => request("PUT", key, { body: "" });

export const deleteObject = (key) => request("DELETE", key);

// The rendition goes first: one that stays behind would take room that nobody sees.
export async function deletePhoto(key) {
  await deleteObject(renditionOf(key));
  await deleteObject(key);
}

async function copyObject(from, to) {
  const { bucket } = await credential.fresh();
  const source = `/${bucket}/${from.split("/").map(encodeURIComponent).join("/")}`;
  const answer = await request("PUT", to, { headers: { "x-amz-copy-source": source } });
  // S3 begins its 200 before it knows the end, so a failure can come inside it.
  if (parseXml(answer).querySelector("Error")) throw Refusal.parse(500, answer);
}

// The rendition is copied after the picture, because an older one would count as that of another picture.
export async function movePhoto({ key, hasRendition }, to) {
  await copyObject(key, to);
  if (hasRendition) await copyObject(renditionOf(key), renditionOf(to)).catch(() => {});
  await deletePhoto(key);
}

export async function listPage(prefix, { token, limit = 1000, signal } = {}) {
  const query = { "list-type": 2, prefix, "max-keys": limit };
  if (token) query["continuation-token"] = token;
  const xml = parseXml(await request("GET", "", { query, signal }));
  const read = (node, name) => node.querySelector(name)?.textContent ?? "";
  return {
    objects: [...xml.querySelectorAll("Contents")].map((node) => ({
      key: read(node, "Key"),
      size: Number(read(node, "Size")),
      modified: new Date(read(node, "LastModified")),
    })),
    next: read(xml, "IsTruncated") === "true" ? read(xml, "NextContinuationToken") : null,
  };
}

async function listObjects(prefix, signal) {
  const objects = [];
  let token = null;
  do {
    const page = await listPage(prefix, { token, signal });
    objects.push(...page.objects);
    token = page.next;
  } while (token);
  return objects;
}

// Pictures and folders under the prefix; renditions are not listed on their own.
export const listFolder = async (prefix, signal) => sortOut(await listObjects(prefix, signal));

// Returns whether it is gone: one that has pictures stays. Renditions that lost their picture go first, the folder last.
export async function removeEmptyFolder(folder) {
  const objects = await listObjects(folder);
  if (sortOut(objects).photos.length) return false;
  for (const { key } of objects.reverse()) await deleteObject(key);
  return true;
}

export const listOwn = async (signal) => listFolder((await credential.fresh()).prefix, signal);
