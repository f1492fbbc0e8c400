// One file from this device to S3: a single PUT, or parts in parallel for a large one, with the true progress of both.

import { writable } from "./credential.js";
import { parseXml, perform, Refusal, request, sign } from "./s3.js";

const LARGE = 8_000_000;
const SMALLEST_PART = 5 * 1024 * 1024;
const MOST_PARTS = 10_000;
const PARTS_AT_ONCE = 4;

// Letters and digits of any script stay; the end of a long name is kept, for its extension.
function plainName(name) {
  const plain = name.normalize("NFC").replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+/, "");
  return [...plain].slice(-80).join("") || "picture";
}

function newKey(prefix, name) {
  const moment = new Date().toISOString().replace(/[:.-]/g, "");
  const random = crypto.getRandomValues(new Uint32Array(2)).reduce((text, n) => text + n.toString(36), "");
  return `${prefix}albums/${moment.slice(0, 4)}-${moment.slice(4, 6)}/${moment}-${random}-${plainName(name)}`;
}

// The album that a key is in, as a path under the prefix: a month of uploads. None for what stands beside the albums.
export const albumOf = (prefix, key) => key.slice(prefix.length).match(/^albums\/[^/]+\//)?.[0] ?? null;

export function sayAlbum(path) {
  const [year, month] = path.split("/").at(-2).split("-").map(Number);
  if (!(month >= 1 && month <= 12)) return path.split("/").at(-2);
  return new Intl.DateTimeFormat(undefined, { year: "numeric", month: "long" }).format(new Date(year, month - 1));
}

export const nameOf = (key) => key.split("/").pop().replace(/^\d{8}T\d{9}Z-[a-z0-9]+-/, "");

// fetch() tells nothing of a body's progress on its way out, so bodies go by XMLHttpRequest.
function transmit({ method, url, headers }, body, { signal, progress }) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const stop = () => call.abort();
    call.open(method, url);
    headers.forEach((value, name) => call.setRequestHeader(name, value));
    call.upload.onprogress = ({ loaded }) => progress(loaded);
    call.onload = () => {
      if (call.status >= 200 && call.status < 300) resolve(call.getResponseHeader("ETag"));
      else reject(Refusal.parse(call.status, call.responseText));
    };
    call.onerror = () => reject(Refusal.silence());
    call.onabort = () => reject(signal.reason);
    call.onloadend = () => signal.removeEventListener("abort", stop);
    signal.addEventListener("abort", stop);
    call.send(body);
  });
}

function refuseIfFull({ full }) {
  if (full) throw new Refusal(403, "quota_exceeded", "Your storage is full: delete something first. Room shows after a minute or so.");
}

const put = (key, body, { query, headers, signal, progress }) =>
  perform(async (held) => {
    refuseIfFull(held);
    const signed = await sign(held, "PUT", key, { query, headers });
    signal.throwIfAborted();
    return transmit(signed, body, { signal, progress });
  }, signal);

function slice(file) {
  const length = Math.max(SMALLEST_PART, Math.ceil(file.size / MOST_PARTS));
  const count = Math.ceil(file.size / length);
  return Array.from({ length: count }, (_, index) => file.slice(index * length, (index + 1) * length));
}

// It is let finish: what began without our knowing its id could not be withdrawn.
async function begin(key, headers) {
  const answer = await request("POST", key, { query: { uploads: "" }, headers });
  return parseXml(answer).querySelector("UploadId").textContent;
}

async function complete(key, uploadId, etags, signal) {
  const parts = etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`);
  const body = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
  const answer = await request("POST", key, { query: { uploadId }, body, signal });
  // S3 begins its 200 before it knows the end, so a failure can come inside it.
  if (parseXml(answer).querySelector("Error")) throw Refusal.parse(500, answer);
}

function sendParts(key, uploadId, parts, { signal, progress }) {
  const sent = parts.map(() => 0);
  const etags = [];
  let next = 0;
  const sendOne = async (index) => {
    const counted = (loaded) => {
      sent[index] = Math.min(loaded, parts[index].size);
      progress(sent.reduce((sum, bytes) => sum + bytes, 0));
    };
    etags[index] = await put(key, parts[index], { query: { partNumber: index + 1, uploadId }, signal, progress: counted });
    if (!etags[index]) throw new Refusal(400, "NoETag", "The bucket's CORS rules must expose the ETag header.");
    counted(parts[index].size);
  };
  const lane = async () => {
    while (next < parts.length) {
      next += 1;
      await sendOne(next - 1);
    }
  };
  const lanes = Array.from({ length: Math.min(PARTS_AT_ONCE, parts.length) }, lane);
  return { lanes, etags };
}

async function multipart(file, key, headers, { signal, progress }) {
  signal.throwIfAborted();
  const uploadId = await begin(key, headers);
  const halt = new AbortController();
  const either = AbortSignal.any([signal, halt.signal]);
  const { lanes, etags } = sendParts(key, uploadId, slice(file), { signal: either, progress });
  try {
    await Promise.all(lanes);
    await complete(key, uploadId, etags, signal);
  } catch (error) {
    halt.abort(error);
    await Promise.allSettled(lanes);
    // What cannot be withdrawn now falls to the bucket's lifecycle rule; the first error is the one to tell.
    await request("DELETE", key, { query: { uploadId } }).catch(() => {});
    throw error;
  }
}

// Resolves to the new picture; `progress` is called with the bytes that have left this device.
export async function upload(file, { signal, progress }) {
  const held = await writable();
  refuseIfFull(held);
  const key = newKey(held.prefix, file.name);
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  if (file.size > LARGE) await multipart(file, key, headers, { signal, progress });
  else await put(key, file, { headers, signal, progress });
  return { key, size: file.size, modified: new Date() };
}
