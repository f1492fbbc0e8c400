// Adding pictures to the album of a link that lets people contribute. Whoever does it first says a name, once.

import * as credential from "./credential.js";
import { newKey, renditionOf } from "./pictures/folders.js";
import { shrink } from "./pictures/renditions.js";
import { putObject } from "./pictures/s3.js";
import { explain } from "./shared/api.js";
import { byId } from "./shared/dom.js";

let link = null;
let added = async () => {};

const say = (text) => { byId("adding-state").textContent = text; };

const pictures = (count) => `${count} ${count === 1 ? "picture" : "pictures"}`;

export function offerAdding(about, listener) {
  link = about.link_id;
  added = listener;
  byId("adding").hidden = about.access !== "contribute";
  say("");
}

async function begin() {
  byId("add").disabled = true;
  try {
    if (credential.isContributor() || (await credential.contribute(link))) byId("files").click();
    else byId("naming").showModal();
  } catch (problem) {
    say(explain(problem));
  } finally {
    byId("add").disabled = false;
  }
}

async function join(event) {
  event.preventDefault();
  byId("join").disabled = true;
  byId("naming-error").textContent = "";
  try {
    await credential.contribute(link, byId("contributor-name").value.trim());
    byId("naming").close();
    say("Now choose your pictures.");
    byId("add").focus();
  } catch (problem) {
    byId("naming-error").textContent = explain(problem);
  } finally {
    byId("join").disabled = false;
  }
}

async function addOne(file) {
  const place = await credential.placeToWrite();
  if (!place) throw new Error("There is no room for more pictures at the moment.");
  const key = newKey(place, "", file.name);
  await putObject(key, file);
  const rendition = await shrink(file);
  if (rendition) await putObject(renditionOf(key), rendition).catch(() => {});
}

async function addAll(files) {
  byId("add").disabled = true;
  let done = 0;
  try {
    for (const file of files) {
      say(`${done} of ${pictures(files.length)} …`);
      await addOne(file);
      done += 1;
    }
    say(`${pictures(done)} added.`);
  } catch (error) {
    say(`${done ? `${pictures(done)} added. ` : ""}${error.message}`);
  } finally {
    byId("add").disabled = false;
  }
  if (done) await added();
}

byId("add").addEventListener("click", begin);
byId("files").addEventListener("change", () => {
  const files = [...byId("files").files].filter(({ type }) => !type || (type.startsWith("image/") && !/svg|xml/.test(type)));
  byId("files").value = "";
  if (files.length) addAll(files);
});
byId("naming-form").addEventListener("submit", join);
byId("cancel-naming").addEventListener("click", () => byId("naming").close());
