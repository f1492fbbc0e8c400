// The album behind a link: whoever has the link looks at the pictures of one folder, without an account.

import { offerAdding } from "./adding.js";
import * as credential from "./credential.js";
import { sayAlbum } from "./pictures/folders.js";
import { listFolder } from "./pictures/s3.js";
import * as thumbnails from "./pictures/thumbnails.js";
import { makeTile, newestFirst } from "./pictures/tiles.js";
import { openViewer, wireViewer } from "./pictures/viewer.js";
import { explain } from "./shared/api.js";
import { announce, byId, sayBytes, sayTime } from "./shared/dom.js";

const SCREENS = ["opening", "locked", "nowhere", "album"];
let photos = [];
const tiles = new Map();

const album = {
  find: (key) => photos.find((photo) => photo.key === key),
  shownKeys: () => photos.map(({ key }) => key),
  thumbnailOf: (key) => tiles.get(key).querySelector("img").src,
};

function show(screen) {
  for (const one of SCREENS) byId(one).hidden = one !== screen;
}

const secret = () => location.hash.slice(1);

function clear() {
  tiles.forEach(thumbnails.release);
  tiles.clear();
  byId("grid").replaceChildren();
  photos = [];
}

async function fill() {
  const { prefix } = await credential.fresh();
  const found = (await listFolder(prefix)).photos.sort(newestFirst);
  clear();
  photos = found;
  for (const photo of photos) {
    const tile = makeTile(photo, (key) => openViewer(key, album));
    tiles.set(photo.key, tile);
    byId("grid").append(tile);
    thumbnails.watch(tile, photo, { isOwn: false });
  }
  const bytes = photos.reduce((sum, { size }) => sum + size, 0);
  byId("count").textContent = photos.length ? `${photos.length} · ${sayBytes(bytes)}` : "";
  byId("empty").hidden = photos.length > 0;
}

function name(about) {
  offerAdding(about, load);
  const title = sayAlbum(`/${about.path_name}/`);
  byId("album-name").textContent = title;
  document.title = title;
  byId("until").textContent = about.expires_at ? `Open until ${sayTime(new Date(about.expires_at))}` : "";
}

function refuse(problem, form) {
  const locked = problem.code === "link_password_required";
  show(locked ? "locked" : "nowhere");
  clear();
  if (!locked) {
    byId("nowhere-text").textContent = explain(problem);
    byId("again").hidden = problem.code === "link_not_found";
    byId("nowhere-heading").focus();
    return;
  }
  byId("password-error").textContent = form.password === undefined ? "" : "That is not the password.";
  byId("password").toggleAttribute("aria-invalid", form.password !== undefined);
  byId("password").focus();
}

async function open(form) {
  try {
    name(await credential.open(form));
  } catch (problem) {
    refuse(problem, form);
    return;
  }
  show("album");
  byId("album-name").focus();
  await load();
}

async function load() {
  byId("trouble").hidden = true;
  try {
    await fill();
  } catch (error) {
    byId("trouble-text").textContent = error.message;
    byId("trouble").hidden = false;
  }
}

async function report() {
  byId("report-now").disabled = true;
  try {
    await credential.report();
    byId("reporting").close();
    announce("Thank you. The people who run this service will look at the album.");
  } catch (problem) {
    byId("report-error").textContent = explain(problem);
  } finally {
    byId("report-now").disabled = false;
  }
}

function begin() {
  show("opening");
  return open({ secret: secret() });
}

byId("unlock-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("unlock").disabled = true;
  await open({ secret: secret(), password: byId("password").value });
  byId("unlock").disabled = false;
});
byId("again").addEventListener("click", begin);
byId("reload").addEventListener("click", load);
byId("report").addEventListener("click", () => {
  byId("report-error").textContent = "";
  byId("reporting").showModal();
});
byId("report-now").addEventListener("click", report);
byId("cancel-report").addEventListener("click", () => byId("reporting").close());
addEventListener("hashchange", begin); // another link, in the same tab
wireViewer();
begin();
