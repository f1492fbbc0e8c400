// What the person can do with a picture of their own that is shown large: move it, delete it, copy its address.

import * as albums from "./albums.js";
import * as credential from "./credential.js";
import * as gallery from "./gallery.js";
import { albumOf, movedTo, sayAlbum } from "./pictures/folders.js";
import { deletePhoto, movePhoto } from "./pictures/s3.js";
import * as viewer from "./pictures/viewer.js";
import { announce, byId, part } from "./shared/dom.js";

const question = byId("confirm");
let shown = null;

// Of somebody else's album, nothing can be moved or deleted.
export const openViewer = (key, album = gallery) => viewer.openViewer(key, album);

export function closeViewer() {
  question.close();
  viewer.closeViewer();
}

function show(picture) {
  shown = picture;
  if (!picture) return;
  part(byId("viewer"), "key").textContent = picture.key;
  byId("delete").hidden = byId("move").hidden = picture.album !== gallery;
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
  viewer.wireViewer({ onShow: show, asks: () => question.open });
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
