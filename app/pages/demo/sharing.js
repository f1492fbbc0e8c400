// Sharing an album of one's own: with whom, until when, who has it, and taking it back.

import * as albums from "./albums.js";
import * as api from "./api.js";
import { sayAlbum } from "./folders.js";
import { explain } from "./shared/api.js";
import { announce, byId, part, sayTime, stamp } from "./shared/dom.js";

const dialog = byId("sharing");
const form = byId("share-form");
const DAY = 86_400_000;

function makeRow(grant) {
  const row = stamp("grant-row");
  const until = grant.expires_at ? `until ${sayTime(new Date(grant.expires_at))}` : "until you take it back";
  part(row, "name").textContent = grant.grantee_email;
  part(row, "since").textContent = `${sayAlbum(grant.path)}, ${until}`;
  const end = part(row, "end");
  end.setAttribute("aria-label", `Take back ${sayAlbum(grant.path)} from ${grant.grantee_email}`);
  end.addEventListener("click", async () => {
    end.disabled = true;
    try {
      const { effective_by: by } = await api.endSharing(grant.grant_id);
      announce(`No new credential opens it. Those that are out already stop by ${sayTime(new Date(by))} at the latest.`);
    } catch (problem) {
      announce(explain(problem));
    }
    await loadGrants();
    (byId("grants").querySelector("button") ?? byId("close-sharing")).focus(); // the button that had the focus is gone
  });
  return row;
}

async function loadGrants() {
  const grants = await api.listShared();
  byId("grants").replaceChildren(...grants.map(makeRow));
  byId("no-grants").hidden = grants.length > 0;
}

async function open() {
  try {
    const known = albums.list();
    const options = known.map(({ path, name, count }) => new Option(`${name} · ${count}`, path));
    byId("share-album").replaceChildren(...options);
    if (albums.chosen()) byId("share-album").value = albums.chosen();
    form.hidden = known.length === 0;
    byId("nothing-to-share").hidden = known.length > 0;
    part(form, "error").textContent = "";
    await loadGrants();
    dialog.showModal();
  } catch (problem) {
    announce(explain(problem));
  }
}

async function share(event) {
  event.preventDefault();
  const { email, path, days } = Object.fromEntries(new FormData(form));
  const expires_at = days ? new Date(Date.now() + days * DAY).toISOString() : null;
  const button = byId("share-now");
  button.disabled = true;
  part(form, "error").textContent = "";
  try {
    await api.share({ grantee_email: email, path, expires_at });
    byId("share-email").value = "";
    announce("Shared. A mail tells them, without your name.");
    await loadGrants();
  } catch (problem) {
    part(form, "error").textContent = explain(problem);
    byId("share-email").focus();
  } finally {
    button.disabled = false;
  }
}

export function closeSharing() {
  dialog.close();
  form.reset();
  byId("grants").replaceChildren();
}

export function wireSharing() {
  byId("share").addEventListener("click", open);
  byId("close-sharing").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", share);
}
