// What others share with this person: a list of folders, each with its pictures, opened by the page's own key.

import * as api from "./api.js";
import * as credential from "./credential.js";
import { makeTile, newestFirst } from "./gallery.js";
import { listFolder } from "./s3.js";
import { explain } from "./shared/api.js";
import { announce, byId, part, sayTime, stamp } from "./shared/dom.js";
import * as thumbnails from "./thumbnails.js";
import { sayAlbum } from "./upload.js";

let loading = new AbortController();
let opened = () => {};

export const onOpenReceived = (listener) => { opened = listener; };

function makeFolder(grant) {
  const folder = stamp("received-folder");
  const owner = grant.owner_display_name || grant.owner_email || "Somebody";
  folder.dataset.prefix = grant.prefix;
  part(folder, "name").textContent = sayAlbum(grant.path);
  const until = grant.expires_at ? ` · until ${sayTime(new Date(grant.expires_at))}` : "";
  part(folder, "from").textContent = `From ${owner}${until}`;
  part(folder, "from").title = grant.owner_email ?? "";
  const leave = part(folder, "leave");
  leave.setAttribute("aria-label", `Remove ${sayAlbum(grant.path)} of ${owner}`);
  leave.addEventListener("click", async () => {
    leave.disabled = true;
    await api.endSharing(grant.grant_id).catch((problem) => announce(explain(problem)));
    await loadReceived();
  });
  return folder;
}

async function fill(folder, held, signal) {
  const { prefix } = folder.dataset;
  const say = (text) => { part(folder, "state").textContent = text; };
  if (!held.shared_prefixes.includes(prefix)) {
    say("The key that this page holds does not open it. It ends within minutes, or there are more folders than one key has room for.");
    return;
  }
  try {
    const photos = (await listFolder(prefix, signal)).sort(newestFirst);
    if (signal.aborted) return;
    const tiles = new Map();
    const album = {
      find: (key) => photos.find((photo) => photo.key === key),
      shownKeys: () => photos.map(({ key }) => key),
      thumbnailOf: (key) => tiles.get(key).querySelector("img").src,
    };
    for (const photo of photos) {
      const tile = makeTile(photo, (key) => opened(key, album));
      tiles.set(photo.key, tile);
      part(folder, "grid").append(tile);
      thumbnails.watch(tile);
    }
    say(photos.length ? "" : "Nothing in it yet.");
  } catch (error) {
    if (!signal.aborted) say(error.message);
  }
}

export async function loadReceived() {
  clearReceived();
  const { signal } = loading;
  try {
    const grants = await api.listReceived();
    if (signal.aborted || !grants.length) return;
    const held = await credential.carrying(grants.map(({ prefix }) => prefix));
    if (signal.aborted) return;
    const folders = grants.map(makeFolder);
    byId("received-folders").replaceChildren(...folders);
    byId("received").hidden = false;
    await Promise.all(folders.map((folder) => fill(folder, held, signal)));
  } catch (problem) {
    if (!signal.aborted) announce(explain(problem));
  }
}

export function clearReceived() {
  loading.abort();
  loading = new AbortController();
  for (const tile of byId("received-folders").querySelectorAll("[data-testid=photo]")) thumbnails.release(tile);
  byId("received-folders").replaceChildren();
  byId("received").hidden = true;
}
