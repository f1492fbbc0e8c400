// One picture, large, with what can be done with it. Back closes it: it has an entry in the tab's history while it is open.

import * as albums from "./albums.js";
import * as credential from "./credential.js";
import { albumOf, formatOf, movedTo, nameOf, sayAlbum } from "./folders.js";
import * as gallery from "./gallery.js";
import { deletePhoto, getPhoto, movePhoto } from "./s3.js";
import { announce, byId, part, sayBytes, sayTime } from "./shared/dom.js";

const viewer = byId("viewer");
const question = byId("confirm");
const HEIC = /^HEI[CF]$/;
let shown = null;
let isLeaving = false;

function forget() {
  shown?.loading.abort();
  if (shown?.url) URL.revokeObjectURL(shown.url);
  part(viewer, "image").removeAttribute("src");
  shown = null;
}

export function closeViewer() {
  question.close();
  viewer.close();
}

function sayUnreadable(key) {
  const format = formatOf(key);
  const own = format ? `This browser cannot show ${format} pictures.` : "This browser cannot show this picture.";
  if (!HEIC.test(format)) return `${own} Download it and open it with another app.`;
  return `${own} Safari can, and so can the photo app of this device once you have downloaded it. For pictures that every browser shows, choose “Most Compatible” under Settings, Camera, Formats on the iPhone.`;
}

async function showOriginal(own) {
  const image = part(viewer, "image");
  viewer.dataset.state = "loading";
  try {
    own.blob = await getPhoto(own.key, own.loading.signal);
    if (shown !== own) return;
    own.url = URL.createObjectURL(own.blob);
    image.src = own.url;
    await image.decode();
    if (shown === own) viewer.dataset.state = "shown";
  } catch (error) {
    if (shown !== own) return;
    viewer.dataset.state = "failed";
    part(viewer, "reason").textContent = own.blob ? sayUnreadable(own.key) : error.message;
  }
}

// `album` has the picture and those beside it; of somebody else's album, which has an `owner`, nothing can be deleted.
export function openViewer(key, album = gallery) {
  forget();
  const photo = album.find(key);
  const name = nameOf(key);
  shown = { key, name, photo, album, loading: new AbortController(), blob: null, url: "" };
  const image = part(viewer, "image");
  // The rendition stands in, blurred, until the original is here.
  const standIn = album.thumbnailOf(key);
  if (standIn) image.src = standIn;
  image.alt = name;
  part(viewer, "name").textContent = name;
  part(viewer, "facts").textContent = [
    ...(album.owner ? [`Shared by ${album.owner}`] : []), sayBytes(photo.size), sayTime(photo.modified),
  ].join(" · ");
  part(viewer, "key").textContent = key;
  byId("delete").hidden = byId("move").hidden = album !== gallery;
  const keys = album.shownKeys();
  byId("previous").disabled = keys.indexOf(key) === 0;
  byId("next").disabled = keys.indexOf(key) === keys.length - 1;
  if (!viewer.open) {
    viewer.showModal();
    history.pushState({ viewer: true }, "");
  }
  return showOriginal(shown);
}

function onClosed() {
  forget();
  if (!history.state?.viewer) return;
  isLeaving = true;
  history.back();
}

// One that comes of closing changes nothing: another picture may be open by then.
function onBack() {
  if (isLeaving) isLeaving = false;
  else if (viewer.open) closeViewer();
}

function step(by) {
  const { album } = shown;
  const keys = album.shownKeys();
  const key = keys[keys.indexOf(shown.key) + by];
  if (key) openViewer(key, album);
}

async function download() {
  const { key, name, blob } = shown;
  try {
    const url = URL.createObjectURL(blob ?? await getPhoto(key));
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    // The browser reads the object after the click returns.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    announce(`${name} could not be downloaded: ${error.message}`);
  }
}

// The picture is gone from where it was: so is its tile.
function leave(key) {
  const before = gallery.shownKeys();
  gallery.remove(key);
  gallery.show();
  closeViewer();
  gallery.focusBeside(key, before);
}

async function remove() {
  const { key, name } = shown;
  byId("confirm-delete").disabled = true;
  try {
    await deletePhoto(key);
    leave(key);
    announce(`${name} is deleted.`);
  } catch (error) {
    question.close();
    announce(`${name} could not be deleted: ${error.message}`);
  } finally {
    byId("confirm-delete").disabled = false;
  }
}

async function move() {
  const { key, name, photo } = shown;
  const { prefix } = credential.facts();
  const album = await albums.askForOther(albumOf(prefix, key));
  if (!album || shown?.key !== key) return;
  byId("move").disabled = true;
  try {
    await movePhoto(photo, movedTo(prefix, album, key));
    leave(key);
    announce(`${name} is in ${sayAlbum(album)} now.`);
    await gallery.load();
  } catch (error) {
    announce(`${name} could not be moved: ${error.message}`);
  } finally {
    byId("move").disabled = false;
  }
}

export function wireViewer() {
  viewer.addEventListener("close", onClosed);
  if (history.state?.viewer) history.replaceState(null, ""); // of the page as it was before a reload
  addEventListener("popstate", onBack);
  viewer.addEventListener("keydown", ({ key }) => {
    if (question.open) return;
    if (key === "ArrowLeft") step(-1);
    if (key === "ArrowRight") step(1);
  });
  viewer.addEventListener("click", ({ target }) => {
    if (target === viewer || target === part(viewer, "stage")) viewer.close();
  });
  byId("close-viewer").addEventListener("click", () => viewer.close());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("download").addEventListener("click", download);
  byId("move").addEventListener("click", move);
  byId("copy-key").addEventListener("click", async () => {
    await navigator.clipboard.writeText(shown.key);
    announce("The address of the picture is copied. Paste it where you are signed in as somebody else.");
  });
  byId("delete").addEventListener("click", () => {
    part(question, "name").textContent = shown.name;
    question.showModal();
  });
  byId("cancel-delete").addEventListener("click", () => question.close());
  byId("confirm-delete").addEventListener("click", remove);
}
