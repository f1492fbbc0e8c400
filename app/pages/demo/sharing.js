// Sharing an album of one's own: with a person or by a link, until when, who has it, and taking it back.

import * as albums from "./albums.js";
import * as api from "./api.js";
import { sayAlbum } from "./pictures/folders.js";
import { explain } from "./shared/api.js";
import { announce, byId, part, sayTime, stamp } from "./shared/dom.js";

const dialog = byId("sharing");
const form = byId("share-form");
const DAY = 86_400_000;

const byLink = ({ link_id: id, path, access, expires_at, created_at }) =>
  makeRow({
    path,
    expires_at,
    name: `Whoever has the link of ${sayTime(new Date(created_at))}`,
    fills: access === "contribute",
    take: () => api.endLink(id),
  });

const withPerson = ({ grant_id: id, path, access, expires_at, grantee_email: name }) =>
  makeRow({ path, expires_at, name, fills: access === "contribute", take: () => api.endSharing(id) });

function makeRow({ path, expires_at: ends, name, fills = false, take }) {
  const row = stamp("grant-row");
  const until = ends ? `until ${sayTime(new Date(ends))}` : "until you take it back";
  part(row, "name").textContent = name;
  part(row, "since").textContent = `${sayAlbum(path)}, ${until}${fills ? ", may add pictures" : ""}`;
  const end = part(row, "end");
  end.setAttribute("aria-label", `Take back ${sayAlbum(path)} from ${name}`);
  end.addEventListener("click", async () => {
    end.disabled = true;
    try {
      const { effective_by: by } = await take();
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
  const [grants, links] = await Promise.all([api.listShared(), api.listLinks()]);
  const rows = [...links.map(byLink), ...grants.map(withPerson)];
  byId("grants").replaceChildren(...rows);
  byId("no-grants").hidden = rows.length > 0;
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
    byId("link-made").hidden = true;
    await loadGrants();
    dialog.showModal();
  } catch (problem) {
    announce(explain(problem));
  }
}

function wish() {
  const { email, path, days, contribute } = Object.fromEntries(new FormData(form));
  const access = contribute ? "contribute" : "read";
  return { email, path, access, expires_at: days ? new Date(Date.now() + days * DAY).toISOString() : null };
}

async function makeLink() {
  const { path, access, expires_at } = wish();
  const button = byId("make-link");
  button.disabled = true;
  part(form, "error").textContent = "";
  try {
    const { url } = await api.makeLink({ path, access, expires_at });
    byId("link").value = url;
    byId("link-made").hidden = false;
    byId("link").select();
    announce("The link is made. It is shown this once.");
    await loadGrants();
  } catch (problem) {
    part(form, "error").textContent = explain(problem);
  } finally {
    button.disabled = false;
  }
}

async function copyLink() {
  await navigator.clipboard.writeText(byId("link").value);
  announce("The link is copied.");
}

async function share(event) {
  event.preventDefault();
  const { email, path, access, expires_at } = wish();
  const button = byId("share-now");
  button.disabled = true;
  part(form, "error").textContent = "";
  try {
    await api.share({ grantee_email: email, path, access, expires_at });
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
  byId("link").value = ""; // it opens the album
}

export function wireSharing() {
  byId("share").addEventListener("click", open);
  byId("close-sharing").addEventListener("click", () => dialog.close());
  byId("make-link").addEventListener("click", makeLink);
  byId("copy-link").addEventListener("click", copyLink);
  form.addEventListener("submit", share);
}
