// Thumbnails for the tiles in view: a few signed GETs at a time, made small, so that a long album stays light.

import { getPhoto } from "./s3.js";

const AT_ONCE = 4;
const WIDTH = 480;
const waiting = new Set();
let running = 0;
let album = new AbortController();

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) waiting.add(target);
    else waiting.delete(target);
  }
  work();
}, { rootMargin: "300px" });

// A browser that cannot decode the format (HEIC, say) gets the original, and the tile says so if that fails too.
async function shrink(blob) {
  try {
    const bitmap = await createImageBitmap(blob, { resizeWidth: WIDTH, resizeQuality: "medium" });
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    return await new Promise((done) => { canvas.toBlob((small) => done(small ?? blob), "image/webp", 0.85); });
  } catch {
    return blob;
  }
}

async function load(tile) {
  const { signal } = album;
  const image = tile.querySelector("img");
  const failed = () => { tile.dataset.state = "failed"; };
  try {
    const small = await shrink(await getPhoto(tile.dataset.key, signal));
    if (signal.aborted || !tile.isConnected) return;
    image.addEventListener("load", () => { tile.dataset.state = "shown"; });
    image.addEventListener("error", failed);
    image.src = URL.createObjectURL(small);
  } catch (error) {
    if (signal.aborted) return;
    tile.title = error.message;
    failed();
  }
}

function work() {
  while (running < AT_ONCE && waiting.size > 0) {
    const [tile] = waiting;
    waiting.delete(tile);
    watcher.unobserve(tile);
    running += 1;
    load(tile).finally(() => { running -= 1; work(); });
  }
}

export const watch = (tile) => watcher.observe(tile);

export function release(tile) {
  watcher.unobserve(tile);
  waiting.delete(tile);
  const image = tile.querySelector("img");
  if (image.src) URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
}

export function releaseAll() {
  album.abort();
  album = new AbortController();
  watcher.disconnect();
  waiting.clear();
}
