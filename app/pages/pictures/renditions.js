// Small renditions of pictures, made on this device: what a tile shows instead of a whole original.

import { mayWrite } from "../credential.js";
import { renditionOf } from "./folders.js";
import { getPhoto, putObject } from "./s3.js";

const SHORT_SIDE = 320;
const LONG_SIDE = 960;
const MOST_BYTES = 24_000;
const QUALITIES = [0.8, 0.65, 0.5, 0.35, 0.2];
// Pictures of other apps may have none: so many bytes of originals are read for that in one visit.
const BUDGET = 24_000_000;
let budget = BUDGET;
let turn = Promise.resolve();

const toBlob = (canvas, type, quality) => new Promise((done) => { canvas.toBlob(done, type, quality); });

function draw(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const brush = canvas.getContext("2d");
  brush.imageSmoothingQuality = "high";
  brush.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function compress(canvas, quality) {
  const webp = await toBlob(canvas, "image/webp", quality);
  // A browser that makes no WebP gives PNG instead, which is large.
  return webp?.type === "image/webp" ? webp : toBlob(canvas, "image/jpeg", quality);
}

async function makeSmall(bitmap) {
  const { width, height } = bitmap;
  const scale = Math.min(1, SHORT_SIDE / Math.min(width, height), LONG_SIDE / Math.max(width, height));
  for (const fraction of [1, 0.5, 0.25]) {
    const canvas = draw(bitmap, scale * fraction);
    for (const quality of QUALITIES) {
      const small = await compress(canvas, quality);
      if (small && small.size <= MOST_BYTES) return small;
    }
  }
  return null;
}

// Null where this browser cannot read the picture. One at a time, for a decoded picture takes some 50 MB. The canvas
// keeps no place and no camera of the original, and turns it upright.
export function shrink(blob) {
  const mine = turn.then(async () => {
    const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => null);
    if (!bitmap) return null;
    try {
      return await makeSmall(bitmap);
    } finally {
      bitmap.close();
    }
  });
  turn = mine.catch(() => {});
  return mine;
}

// Without it the picture is there all the same, so a failure is nobody's trouble.
export const store = (key, small) => putObject(renditionOf(key), small).then(() => true, () => false);

const UNREADABLE = /\.(hei[cf]|dng|cr[23]|nef|arw|raf|tiff?)$/i;
let reading = Promise.resolve();

// For a picture that has none: null where it costs too much, or cannot be read here.
export function catchUp({ key, size }, { isOwn, signal }) {
  if (size > budget || UNREADABLE.test(key) || navigator.connection?.saveData) return Promise.resolve(null);
  budget -= size;
  const mine = reading.then(async () => {
    signal.throwIfAborted();
    const small = await shrink(await getPhoto(key, signal));
    if (small && isOwn && mayWrite()) await store(key, small);
    return small;
  });
  reading = mine.catch(() => {});
  return mine;
}

export function renewBudget() {
  budget = BUDGET;
}
