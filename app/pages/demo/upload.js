// One file from this device to S3: a single PUT, or parts in parallel for a large one, with the true progress of both. What
// a broken line has interrupted goes on where it was: parts that arrived are not sent again.

import { writable } from "./credential.js";
import { newKey } from "./pictures/folders.js";
import { shrink, store } from "./pictures/renditions.js";
import { actionOf, parseXml, perform, Refusal, request, sign } from "./pictures/s3.js";

const LARGE = 8_000_000;
const SMALLEST_PART = 5 * 1024 * 1024;
const MOST_PARTS = 10_000;
const PARTS_AT_ONCE = 4;

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
  if (full) throw new Refusal(403, "quota_exceeded");
}

const put = (key, body, { query, headers, signal, progress }) =>
  perform(async (held) => {
    refuseIfFull(held);
    const signed = await sign(held, "PUT", key, { query, headers });
    signal.throwIfAborted();
    return transmit(signed, body, { signal, progress });
  }, { signal, ...actionOf("PUT", key, query) });

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

function sendParts(sending, parts, { signal, progress }) {
  const { key, uploadId, etags } = sending;
  const sent = parts.map((part, index) => (etags[index] ? part.size : 0));
  const missing = parts.map((_, index) => index).filter((index) => !etags[index]);
  const sendOne = async (index) => {
    const counted = (loaded) => {
      sent[index] = Math.min(loaded, parts[index].size);
      progress(sent.reduce((sum, bytes) => sum + bytes, 0));
    };
    etags[index] = await put(key, parts[index], { query: { partNumber: index + 1, uploadId }, signal, progress: counted });
    if (!etags[index]) throw new Refusal(400, "NoETag");
    counted(parts[index].size);
  };
  const lane = async () => {
    while (missing.length > 0) await sendOne(missing.shift());
  };
  return Array.from({ length: Math.min(PARTS_AT_ONCE, missing.length) }, lane);
}

async function multipart(file, sending, headers, { signal, progress }) {
  signal.throwIfAborted();
  sending.uploadId ??= await begin(sending.key, headers);
  const halt = new AbortController();
  const lanes = sendParts(sending, slice(file), { signal: AbortSignal.any([signal, halt.signal]), progress });
  try {
    await Promise.all(lanes);
    await complete(sending.key, sending.uploadId, sending.etags, signal);
  } catch (error) {
    halt.abort(error);
    await Promise.allSettled(lanes);
    if (!isBroken(error)) await withdraw(sending);
    throw error;
  }
}

// What cannot be withdrawn now falls to the bucket's lifecycle rule; the first error is the one to tell.
export async function withdraw(sending) {
  const { key, uploadId } = sending;
  Object.assign(sending, { uploadId: null, etags: [] });
  if (uploadId) await request("DELETE", key, { query: { uploadId } }).catch(() => {});
}

// The line, not the picture: it is worth another try later.
export const isBroken = (error) => error instanceof Refusal && error.status === 0;

// `place`: a prefix to put it under, in place of an album of one's own.
export const begun = (album, place = null) => ({ album, place, key: "", uploadId: null, etags: [] });

// Resolves to the new picture; `progress` is called with the bytes that have left this device. `sending` is what `begun`
// gave, and goes on where an earlier call for the same file was broken off.
export async function upload(file, sending, { signal, progress, stored }) {
  const held = await writable();
  refuseIfFull(held);
  sending.key ||= sending.place ? newKey(sending.place, "", file.name) : newKey(held.prefix, sending.album, file.name);
  const { key } = sending;
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  if (file.size > LARGE) await multipart(file, sending, headers, { signal, progress });
  else await put(key, file, { headers, signal, progress });
  stored();
  const rendition = await shrink(file);
  const hasRendition = rendition !== null && (await store(key, rendition));
  return { key, size: file.size, modified: new Date(), rendition, hasRendition };
}
