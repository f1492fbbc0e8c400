// Albums: folders under `albums/`. One is made by its name, and chosen to be looked at and added to; without a choice all
// pictures are shown, and new ones go into the album of the month. One without pictures can be removed, and its shares
// end: an album that gets its name later is another one.

import * as api from "./api.js";
import * as credential from "./credential.js";
import { albumPath, sayAlbum, thisMonth } from "./pictures/folders.js";
import { makeFolder, removeEmptyFolder } from "./pictures/s3.js";
import { announce, byId, stamp, part } from "./shared/dom.js";
import { ask } from "./shared/question.js";

const made = new Set(); // folders that may have no picture
let counts = new Map(); // path → number of pictures, the album with the newest picture first
let choice = null;
let changed = () => {};

export const chosen = () => choice;

export const target = () => choice ?? thisMonth();

// Path, what it is called, and how many pictures it has: the empty ones first.
export const list = () =>
  [...[...made].filter((path) => !counts.has(path)).sort().map((path) => [path, 0]), ...counts]
    .map(([path, count]) => ({ path, name: sayAlbum(path), count }));

function makeChip(path, name, count) {
  const chip = stamp("album-chip");
  part(chip, "name").textContent = name;
  part(chip, "count").textContent = count;
  const button = chip.querySelector("button");
  button.setAttribute("aria-pressed", choice === path);
  button.dataset.path = path ?? "";
  button.addEventListener("click", () => choose(path));
  return chip;
}

function draw() {
  const bar = byId("albums");
  const focused = bar.contains(document.activeElement) ? document.activeElement.dataset.path : null;
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const chips = list().map(({ path, name, count }) => makeChip(path, name, count));
  bar.replaceChildren(makeChip(null, "All pictures", total), ...chips);
  byId("album-name").textContent = choice ? sayAlbum(choice) : "Your pictures";
  byId("rename-album").hidden = !choice;
  byId("remove-album").hidden = !choice || counts.has(choice);
  if (focused !== null) bar.querySelector(`[data-path="${CSS.escape(focused)}"]`)?.focus();
}

export function show(photos) {
  counts = new Map();
  for (const { album } of [...photos].sort((a, b) => b.modified - a.modified)) {
    if (album) counts.set(album, (counts.get(album) ?? 0) + 1);
  }
  if (choice && !counts.has(choice)) made.add(choice); // the one that is looked at stays when its last picture goes
  draw();
}

export function choose(path) {
  choice = path;
  changed();
}

// Folders as the bucket has them.
export function remember(paths) {
  made.clear();
  paths.forEach((path) => made.add(path));
}

async function make({ name }) {
  const path = albumPath(name);
  if (!path) throw new api.Problem({ code: "invalid_path" });
  const { prefix } = await credential.fresh();
  if (!counts.has(path)) await makeFolder(prefix + path);
  made.add(path);
  return path;
}

// The path of the new album, or null.
export async function askForNew() {
  return ask({
    title: "A new album",
    text: "It is a folder of yours. You can share it with other people.",
    fields: [{ name: "name", label: "Name", maxlength: 60 }],
    submit: "Make it",
  }, make);
}

export async function askForOther(current) {
  const others = list().filter(({ path }) => path !== current).map(({ path, name }) => [path, name]);
  const answer = await ask({
    title: "Move the picture",
    text: "People with whom you share the album see what is in it.",
    fields: [{ name: "path", label: "To the album", options: [...others, ["", "A new album …"]] }],
    submit: "Move it",
  }, (form) => form);
  return answer && (answer.path || askForNew());
}

// What the person shares of that folder.
export const grantsOf = async (folder) => (await api.listShared()).filter(({ path }) => path === folder);

async function remove() {
  const path = choice;
  const { prefix } = await credential.fresh();
  const grants = await grantsOf(path);
  if (!(await removeEmptyFolder(prefix + path))) return announce("There are pictures in it by now. Refresh to see them.");
  for (const { grant_id: id } of grants) await api.endSharing(id);
  made.delete(path);
  choose(null);
  byId("new-album").focus();
  announce(`${sayAlbum(path)} is removed${grants.length ? ", and nobody else has it any more" : ""}.`);
}

export function clear() {
  made.clear();
  counts = new Map();
  choice = null;
  byId("albums").replaceChildren();
  byId("rename-album").hidden = byId("remove-album").hidden = true;
}

export function wireAlbums(onChange) {
  changed = onChange;
  byId("remove-album").addEventListener("click", () =>
    remove().catch((error) => announce(`The album could not be removed: ${error.message}`)));
  byId("new-album").addEventListener("click", async () => {
    const path = await askForNew();
    if (!path) return;
    choose(path);
    announce(`${sayAlbum(path)} is made. Pictures that you add now go into it.`);
    byId("add").focus();
  });
}
