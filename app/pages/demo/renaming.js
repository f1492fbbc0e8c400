// Another name for an album: S3 renames nothing, so each picture moves to the folder of that name. A share is one of a
// folder, so the people who have the old one are offered the new one.

import * as albums from "./albums.js";
import * as api from "./api.js";
import * as credential from "./credential.js";
import { albumPath, movedTo, sayAlbum } from "./pictures/folders.js";
import * as gallery from "./gallery.js";
import { listFolder, makeFolder, movePhoto, removeEmptyFolder } from "./pictures/s3.js";
import { announce, byId } from "./shared/dom.js";
import { ask } from "./shared/question.js";

const AT_ONCE = 4;

async function moveAll(photos, prefix, path) {
  const waiting = [...photos];
  const work = async () => {
    for (let photo = waiting.pop(); photo; photo = waiting.pop()) await movePhoto(photo, movedTo(prefix, path, photo.key));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

// What fails can be begun again: nothing that was done is in the way. The shares come first, because the service may
// refuse one.
async function rename(from, to) {
  const grants = await albums.grantsOf(from);
  for (const { grantee_email, expires_at } of grants) await api.share({ grantee_email, path: to, expires_at });
  const { prefix } = await credential.fresh();
  await makeFolder(prefix + to);
  await moveAll((await listFolder(prefix + from)).photos, prefix, to);
  await removeEmptyFolder(prefix + from);
  for (const { grant_id: id } of grants) await api.endSharing(id);
}

// Taken is what an album is called, which of a month is more than its folder.
function newPath(wanted, begun) {
  const path = albumPath(wanted);
  if (!path) throw new api.Problem({ code: "invalid_path" });
  const isTaken = albums.list().some((album) => album.path !== begun && album.name === sayAlbum(path));
  if (isTaken) throw new api.Problem({ detail: "An album has this name already." });
  return path;
}

async function askForName() {
  const from = albums.chosen();
  let begun = null;
  const path = await ask({
    title: "Rename the album",
    text: "Its pictures move to a folder of the new name. People with whom you share it are offered it again.",
    fields: [{ name: "name", label: "New name", maxlength: 60, value: sayAlbum(from) }],
    submit: "Rename it",
  }, async ({ name }) => {
    const to = newPath(name, begun);
    begun = to;
    try {
      await rename(from, to);
      albums.choose(to); // first: the one that is looked at stays on the list without a picture
    } finally {
      await gallery.load();
    }
    return to;
  });
  if (!path) return;
  announce(`It is called ${sayAlbum(path)} now.`);
  byId("rename-album").focus();
}

export function wireRenaming() {
  byId("rename-album").addEventListener("click", askForName);
}
