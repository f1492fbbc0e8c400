// The pictures: one tile for each under the person's prefix, newest first, all of them or those of one album.

import * as albums from "./albums.js";
import * as credential from "./credential.js";
import { albumOf } from "./pictures/folders.js";
import { listOwn } from "./pictures/s3.js";
import * as thumbnails from "./pictures/thumbnails.js";
import { makeTile, newestFirst } from "./pictures/tiles.js";
import { announce, byId, sayBytes } from "./shared/dom.js";

const photos = new Map();
let listing = new AbortController();
let opened = () => {};

export const onOpen = (listener) => { opened = listener; };

const albumOfKey = (key) => albumOf(credential.facts()?.prefix ?? "", key);

const isShown = ({ photo }) => albums.chosen() === null || albumOfKey(photo.key) === albums.chosen();

export function show() {
  const all = [...photos.values()];
  for (const held of all) held.tile.hidden = !isShown(held);
  const shown = all.filter(isShown);
  const bytes = shown.reduce((sum, { photo }) => sum + photo.size, 0);
  byId("count").textContent = shown.length ? `${shown.length} · ${sayBytes(bytes)}` : "";
  byId("empty").hidden = shown.length > 0;
  albums.show(all.map(({ photo }) => ({ ...photo, album: albumOfKey(photo.key) })));
}

function place(photo, where, small = null) {
  if (photos.has(photo.key)) return;
  const tile = makeTile(photo, (key) => opened(key));
  photos.set(photo.key, { photo, tile });
  byId("grid")[where](tile);
  thumbnails.watch(tile, photo, { isOwn: true, small });
}

export function add({ rendition, ...photo }) {
  place(photo, "prepend", rendition);
  show();
}

export function remove(key) {
  const held = photos.get(key);
  if (!held) return;
  photos.delete(key);
  thumbnails.release(held.tile);
  held.tile.remove();
}

export const shownKeys = () => [...byId("grid").children].filter(({ hidden }) => !hidden).map(({ dataset }) => dataset.key);

export const find = (key) => photos.get(key)?.photo;

export const thumbnailOf = (key) => photos.get(key)?.tile.querySelector("img").src ?? "";

// After a picture is gone, the one that took its place has the focus, or what adds pictures.
export function focusBeside(key, keysBefore) {
  const place = keysBefore.indexOf(key);
  const next = keysBefore[place + 1] ?? keysBefore[place - 1];
  (photos.get(next)?.tile.querySelector("button") ?? byId("add")).focus();
}

export async function load() {
  const { signal } = listing;
  const grid = byId("grid");
  grid.setAttribute("aria-busy", "true");
  byId("list-error").hidden = true;
  try {
    const { photos: found, folders } = await listOwn(signal);
    if (signal.aborted) return;
    const keys = new Set(found.map(({ key }) => key));
    [...photos.keys()].filter((key) => !keys.has(key)).forEach(remove);
    found.sort(newestFirst).forEach((photo) => place(photo, "append"));
    found.forEach(({ key }) => grid.append(photos.get(key).tile));
    albums.remember(folders.map(albumOfKey).filter(Boolean));
    thumbnails.retryFailed();
    show();
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
  albums.clear();
  byId("empty").hidden = true;
  byId("list-error").hidden = true;
}
