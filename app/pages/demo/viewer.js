// One picture, large, with what can be done with it.

import { announce, byId, part, sayBytes, sayTime } from "./shared/dom.js";
import * as gallery from "./gallery.js";
import { deletePhoto, getPhoto } from "./s3.js";
import { nameOf } from "./upload.js";

const viewer = byId("viewer");
const question = byId("confirm");
let shown = null;

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
    const undecodable = "This browser cannot show this kind of file. You can still download it.";
    part(viewer, "reason").textContent = own.blob ? undecodable : error.message;
  }
}

// `album` has the picture and those beside it; of somebody else's album, which has an `owner`, nothing can be deleted.
export function openViewer(key, album = gallery) {
  forget();
  const photo = album.find(key);
  const name = nameOf(key);
  shown = { key, name, album, loading: new AbortController(), blob: null, url: "" };
  const image = part(viewer, "image");
  // The thumbnail stands in, blurred, until the original is here.
  image.src = album.thumbnailOf(key);
  image.alt = name;
  part(viewer, "name").textContent = name;
  part(viewer, "facts").textContent = [
    ...(album.owner ? [`Shared by ${album.owner}`] : []), sayBytes(photo.size), sayTime(photo.modified),
  ].join(" · ");
  part(viewer, "key").textContent = key;
  byId("delete").hidden = album !== gallery;
  const keys = album.shownKeys();
  byId("previous").disabled = keys.indexOf(key) === 0;
  byId("next").disabled = keys.indexOf(key) === keys.length - 1;
  if (!viewer.open) viewer.showModal();
  return showOriginal(shown);
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

async function remove() {
  const { key, name } = shown;
  byId("confirm-delete").disabled = true;
  try {
    await deletePhoto(key);
    gallery.remove(key);
    closeViewer();
    announce(`${name} is deleted.`);
  } catch (error) {
    question.close();
    announce(`${name} could not be deleted: ${error.message}`);
  } finally {
    byId("confirm-delete").disabled = false;
  }
}

export function wireViewer() {
  viewer.addEventListener("close", forget);
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
  byId("copy-key").addEventListener("click", async () => {
    await navigator.clipboard.writeText(shown.key);
    announce("The key is copied. Paste it where you are signed in as somebody else.");
  });
  byId("delete").addEventListener("click", () => {
    part(question, "name").textContent = shown.name;
    question.showModal();
  });
  byId("cancel-delete").addEventListener("click", () => question.close());
  byId("confirm-delete").addEventListener("click", remove);
}
