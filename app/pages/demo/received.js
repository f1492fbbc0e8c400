// What others share with this person: a list of folders. Each is accepted first, or declined; one that was accepted shows
// its pictures, opened by the page's own key. One key has room for some folders: whoever opens another folder gets a key
// for it and for what is open, or for it alone.

import * as api from "./api.js";
import * as credential from "./credential.js";
import { sayAlbum } from "./pictures/folders.js";
import { listFolder } from "./pictures/s3.js";
import { explain } from "./shared/api.js";
import { announce, byId, part, sayTime, stamp } from "./shared/dom.js";
import { ask } from "./shared/question.js";
import * as thumbnails from "./pictures/thumbnails.js";
import { makeTile, newestFirst } from "./pictures/tiles.js";
import { enqueueAll, onContributed } from "./uploads.js";

const MOST_NAMED = 100;
let loading = new AbortController();
let opened = () => {};

export const onOpenReceived = (listener) => { opened = listener; };

function makeFolder(grant) {
  const folder = stamp("received-folder");
  const owner = grant.owner_display_name || grant.owner_email || "Somebody";
  folder.dataset.prefix = grant.prefix;
  folder.dataset.grant = grant.grant_id;
  folder.dataset.owner = owner;
  part(folder, "name").textContent = sayAlbum(grant.path);
  const until = grant.expires_at ? ` · until ${sayTime(new Date(grant.expires_at))}` : "";
  part(folder, "from").textContent = `From ${owner}${until}`;
  part(folder, "from").title = grant.owner_email ?? "";
  const accepted = grant.accepted_at !== null;
  part(folder, "offer").hidden = accepted;
  part(folder, "leave").hidden = !accepted;
  const whose = `${sayAlbum(grant.path)} of ${owner}`;
  settleBy(folder, "accept", `Accept ${whose}`, () => api.acceptGrant(grant.grant_id));
  settleBy(folder, "decline", `Decline ${whose}`, () => api.endSharing(grant.grant_id));
  settleBy(folder, "leave", `Remove ${whose}`, () => leave(grant, owner));
  const open = part(folder, "open");
  open.setAttribute("aria-label", `Open ${whose}`);
  open.addEventListener("click", () => openFolder(folder));
  const chooser = part(folder, "files");
  part(folder, "add").setAttribute("aria-label", `Add pictures to ${whose}`);
  part(folder, "add").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => addTo(folder, chooser));
  return folder;
}

// Where in the folder this person's pictures go, if the key may put some there.
const placeIn = (held, folder) => held.write_prefixes.find((place) => place.startsWith(folder.dataset.prefix));

async function addTo(folder, chooser) {
  const { prefix, grant } = folder.dataset;
  const files = [...chooser.files];
  chooser.value = "";
  try {
    const place = placeIn(await credential.carrying([prefix], [grant]), folder);
    if (place) enqueueAll(files, place);
    else announce("There is no room in it at the moment.");
  } catch (problem) {
    announce(explain(problem));
  }
}

onContributed(({ key }) => {
  const folder = folders().find(({ dataset }) => key.startsWith(dataset.prefix));
  if (!folder || !isOpen(folder)) return;
  empty(folder);
  fill(folder, loading.signal);
});

const leave = ({ grant_id: id, path }, owner) => ask({
  title: `Remove ${sayAlbum(path)}?`,
  text: `You do not see it any more. Only ${owner} can share it with you again, and is not told.`,
  submit: "Remove it",
  danger: true,
}, async () => { await api.endSharing(id); });

function settleBy(folder, name, label, act) {
  const button = part(folder, name);
  button.setAttribute("aria-label", label);
  button.addEventListener("click", async () => {
    button.disabled = true;
    await act().catch((problem) => announce(explain(problem)));
    await loadReceived();
    (byId("received-folders").querySelector("button") ?? byId("refresh")).focus(); // the button that had it is gone
  });
}

const isOffered = (folder) => !part(folder, "offer").hidden;

const folders = () => [...byId("received-folders").children];

const isOpen = (folder) => folder.dataset.state === "open";

const say = (folder, text) => { part(folder, "state").textContent = text; };

function empty(folder) {
  for (const tile of part(folder, "grid").children) thumbnails.release(tile);
  part(folder, "grid").replaceChildren();
}

function shut(folder) {
  folder.dataset.state = "shut";
  empty(folder);
  say(folder, "");
  part(folder, "open").hidden = false;
  part(folder, "add").hidden = true;
}

async function fill(folder, signal) {
  folder.dataset.state = "open";
  part(folder, "open").hidden = true;
  say(folder, "");
  try {
    const photos = (await listFolder(folder.dataset.prefix, signal)).photos.sort(newestFirst);
    if (signal.aborted || !isOpen(folder)) return;
    const tiles = new Map();
    const album = {
      owner: folder.dataset.owner,
      find: (key) => photos.find((photo) => photo.key === key),
      shownKeys: () => photos.map(({ key }) => key),
      thumbnailOf: (key) => tiles.get(key).querySelector("img").src,
    };
    for (const photo of photos) {
      const tile = makeTile(photo, (key) => opened(key, album));
      tiles.set(photo.key, tile);
      part(folder, "grid").append(tile);
      thumbnails.watch(tile, photo, { isOwn: false });
    }
    if (!photos.length) say(folder, "Nothing in it yet.");
  } catch (error) {
    if (!signal.aborted) say(folder, error.message);
  }
}

// Those that the key opens, and no others.
function show(held, signal) {
  const carried = (folder) => held.shared_prefixes.includes(folder.dataset.prefix);
  folders().filter((folder) => !carried(folder) && !isOffered(folder)).forEach(shut);
  for (const folder of folders().filter(carried)) part(folder, "add").hidden = !placeIn(held, folder);
  return Promise.all(folders().filter((folder) => carried(folder) && !isOpen(folder)).map((folder) => fill(folder, signal)));
}

async function openFolder(folder) {
  const { signal } = loading;
  const { prefix, grant } = folder.dataset;
  const button = part(folder, "open");
  button.disabled = true;
  say(folder, "");
  try {
    const shown = folders().filter(isOpen).map(({ dataset }) => dataset.grant);
    let held = await credential.carrying([prefix], [grant, ...shown].slice(0, MOST_NAMED));
    if (held.shared_parts > 1) held = await credential.carrying([prefix], [grant]);
    if (signal.aborted) return;
    await show(held, signal);
    if (!held.shared_prefixes.includes(prefix)) {
      say(folder, "No credential opens it: it ends within minutes, its name is too long, or your credential is one that only uploads.");
    }
  } catch (problem) {
    if (!signal.aborted) announce(explain(problem));
  } finally {
    button.disabled = false;
  }
}

export async function loadReceived() {
  clearReceived();
  const { signal } = loading;
  try {
    const grants = await api.listReceived();
    if (signal.aborted || !grants.length) return;
    const accepted = grants.filter(({ accepted_at: at }) => at !== null);
    const held = await credential.carrying(accepted.map(({ prefix }) => prefix));
    if (signal.aborted) return;
    byId("received-folders").replaceChildren(...grants.map(makeFolder));
    byId("received").hidden = false;
    await show(held, signal);
  } catch (problem) {
    if (!signal.aborted) announce(explain(problem));
  }
}

export function clearReceived() {
  loading.abort();
  loading = new AbortController();
  folders().forEach(empty);
  byId("received-folders").replaceChildren();
  byId("received").hidden = true;
}
