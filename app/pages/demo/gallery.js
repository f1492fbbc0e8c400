// The album: one tile for each picture under the person's prefix, newest first.

import { announce, byId, part, sayBytes, sayTime, stamp } from "./shared/dom.js";
import { listPhotos } from "./s3.js";
import * as thumbnails from "./thumbnails.js";
import { nameOf } from "./upload.js";

const photos = new Map();
let listing = new AbortController();
let opened = () => {};

export const onOpen = (listener) => { opened = listener; };

export const newestFirst = (a, b) => b.modified - a.modified || (a.key < b.key ? 1 : -1);

function say() {
  const bytes = [...photos.values()].reduce((sum, { photo }) => sum + photo.size, 0);
  byId("count").textContent = photos.size ? `${photos.size} · ${sayBytes(bytes)}` : "";
  byId("empty").hidden = photos.size > 0;
}

export function makeTile(photo, open) {
  const tile = stamp("photo-tile");
  const name = nameOf(photo.key);
  tile.dataset.key = photo.key;
  const button = tile.querySelector("button");
  button.setAttribute("aria-label", `${name}, ${sayBytes(photo.size)}, ${sayTime(photo.modified)}`);
  button.addEventListener("click", () => open(photo.key));
  part(tile, "name").textContent = name;
  return tile;
}

function place(photo, where) {
  if (photos.has(photo.key)) return;
  const tile = makeTile(photo, (key) => opened(key));
  photos.set(photo.key, { photo, tile });
  byId("grid")[where](tile);
  thumbnails.watch(tile);
}

export function add(photo) {
  place(photo, "prepend");
  say();
}

export function remove(key) {
  const held = photos.get(key);
  if (!held) return;
  photos.delete(key);
  thumbnails.release(held.tile);
  held.tile.remove();
  say();
}

export const shownKeys = () => [...byId("grid").children].map((tile) => tile.dataset.key);

export const keys = () => [...photos.keys()];

export const find = (key) => photos.get(key)?.photo;

export const thumbnailOf = (key) => photos.get(key)?.tile.querySelector("img").src ?? "";

export async function load() {
  const { signal } = listing;
  const grid = byId("grid");
  grid.setAttribute("aria-busy", "true");
  byId("list-error").hidden = true;
  try {
    const found = await listPhotos(signal);
    if (signal.aborted) return;
    const keys = new Set(found.map(({ key }) => key));
    [...photos.keys()].filter((key) => !keys.has(key)).forEach(remove);
    found.sort(newestFirst).forEach((photo) => place(photo, "append"));
    found.forEach(({ key }) => grid.append(photos.get(key).tile));
    say();
  } catch (error) {
    if (signal.aborted) return;
    part(byId("list-error"), "reason").textContent = error.message;
    byId("list-error").hidden = false;
    announce("Your pictures could not be listed.");
  } finally {
    grid.setAttribute("aria-busy", "false");
  }
}

export function clear() {
  listing.abort();
  listing = new AbortController();
  thumbnails.releaseAll();
  [...photos.keys()].forEach(remove);
  byId("empty").hidden = true;
  byId("list-error").hidden = true;
}
