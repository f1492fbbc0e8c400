// The tiles in view show small renditions, a few requests at a time. A tile that failed asks again.

import { renditionOf } from "./folders.js";
import { catchUp, renewBudget } from "./renditions.js";
import { getPhoto } from "./s3.js";

const AT_ONCE = 6;
const WAITS = [5_000, 20_000, 60_000];
const waiting = new Set();
const known = new Map(); // tile → { photo, isOwn, failures }
let running = 0;
let album = new AbortController();

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) waiting.add(target);
    else waiting.delete(target);
  }
  work();
}, { rootMargin: "300px" });

function show(tile, small) {
  const image = tile.querySelector("img");
  if (image.src) URL.revokeObjectURL(image.src);
  image.onload = () => { tile.dataset.state = "shown"; };
  image.onerror = () => { tile.dataset.state = "plain"; };
  image.src = URL.createObjectURL(small);
}

const read = ({ photo, isOwn }, signal) =>
  photo.hasRendition ? getPhoto(renditionOf(photo.key), signal) : catchUp(photo, { isOwn, signal });

function fail(tile, held, error) {
  tile.dataset.state = "failed";
  tile.title = error.message;
  held.failures += 1;
  const wait = WAITS[held.failures - 1];
  if (wait) held.timer = setTimeout(() => { if (known.get(tile) === held) watcher.observe(tile); }, wait);
}

async function load(tile) {
  const { signal } = album;
  const held = known.get(tile);
  try {
    const small = await read(held, signal);
    if (signal.aborted || known.get(tile) !== held) return;
    tile.title = "";
    if (small) show(tile, small);
    else tile.dataset.state = "plain";
  } catch (error) {
    if (signal.aborted || known.get(tile) !== held) return;
    // The rendition went away, or never was whole: from now on this is a picture without one.
    if (error.code === "NoSuchKey" && held.photo.hasRendition) held.photo = { ...held.photo, hasRendition: false };
    fail(tile, held, error);
  }
}

function work() {
  while (running < AT_ONCE && waiting.size > 0) {
    const [tile] = waiting;
    waiting.delete(tile);
    watcher.unobserve(tile);
    if (!known.has(tile)) continue;
    running += 1;
    load(tile).finally(() => { running -= 1; work(); });
  }
}

// `small`: a rendition that is here already, for the picture was just added.
export function watch(tile, photo, { isOwn, small = null }) {
  known.set(tile, { photo, isOwn, failures: 0, timer: 0 });
  if (small) show(tile, small);
  else watcher.observe(tile);
}

export function retryFailed() {
  for (const [tile, held] of known) {
    if (tile.dataset.state !== "failed") continue;
    clearTimeout(held.timer);
    held.failures = 0;
    delete tile.dataset.state;
    watcher.observe(tile);
  }
}

export function release(tile) {
  clearTimeout(known.get(tile)?.timer);
  known.delete(tile);
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
  renewBudget();
}

addEventListener("online", retryFailed);
