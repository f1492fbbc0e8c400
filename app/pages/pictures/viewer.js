// One picture, large, and its download. Back closes it: it has an entry in the tab's history while it is open.

import { announce, byId, part, sayBytes, sayTime } from "../shared/dom.js";
import { formatOf, nameOf } from "./folders.js";
import { getPhoto } from "./s3.js";

const viewer = byId("viewer");
const HEIC = /^HEI[CF]$/;
const SHOWN_EVERYWHERE = /^(JPE?G|PNG|GIF|WEBP)$/;
let shown = null;
let isLeaving = false;
let told = () => {};
let isAsking = () => false;

function forget() {
  shown?.loading.abort();
  if (shown?.url) URL.revokeObjectURL(shown.url);
  part(viewer, "image").removeAttribute("src");
  shown = null;
  told(null);
}

export const closeViewer = () => viewer.close();

function sayUnreadable(key) {
  const format = formatOf(key);
  if (SHOWN_EVERYWHERE.test(format)) return `The file is damaged, or it is no ${format} picture. You can download it.`;
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

// `album` has the picture and those beside it. It has an `owner` if it is somebody else's.
export function openViewer(key, album) {
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
  told(shown);
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

// `onShow` gets each picture that is shown, and null when none is. While the page `asks` something about it, keys do not turn to another.
export function wireViewer({ onShow = told, asks = isAsking } = {}) {
  told = onShow;
  isAsking = asks;
  viewer.addEventListener("close", onClosed);
  if (history.state?.viewer) history.replaceState(null, ""); // of the page as it was before a reload
  addEventListener("popstate", onBack);
  viewer.addEventListener("keydown", ({ key }) => {
    if (isAsking()) return;
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
}
