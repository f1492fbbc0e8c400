// Wiring: who is signed in sees the section that the address names, and leaving forgets everything.

import * as api from "./api.js";
import { setActor } from "./actions.js";
import { clearAudit, showAudit, wireAudit } from "./audit.js";
import { clearDashboard, hideDashboard, showDashboard, wireDashboard } from "./dashboard.js";
import { clearImports, showImports, wireImports } from "./imports.js";
import { clearKeys, showKey, wireKeys } from "./keys.js";
import { make } from "./element.js";
import { announce, byId, hush } from "./shared/dom.js";
import { resume, setNotice, wireSignIn } from "./sign-in.js";
import { clearService, showService, wireService } from "./service.js";
import { clearUser, showUser, wireUser } from "./user.js";
import { clearUsers, showUsers, wireUsers } from "./users.js";

const SECTIONS = ["sign-in", "dashboard", "users", "user", "keys", "audit", "imports", "service"];
const TITLES = { dashboard: "Dashboard", users: "Users", user: "User", keys: "Access keys", audit: "Audit", imports: "Imports", service: "Service" };
let me = null;

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// `#/users/<id>`: the section, what it is about, and parameters.
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, ...rest] = path.split("/");
  const about = decoded(rest.join("/"));
  if (first === "users" && about) return { section: "user", about };
  const sections = ["users", "keys", "audit", "service", ...(me?.role === "admin" ? ["imports"] : [])];
  return { section: sections.includes(first) ? first : "dashboard", about, parameters: new URLSearchParams(query) };
}

function showSection(name) {
  hush(); // what was said there could cover something here
  for (const section of SECTIONS) byId(section).hidden = section !== name;
  for (const link of byId("nav").querySelectorAll("a")) {
    if (link.dataset.section === name || (name === "user" && link.dataset.section === "users")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name] ?? "Console"} – tokenvend`;
}

function route({ focus = true } = {}) {
  if (!me || location.hash === "#main") return;
  const { section, about, parameters } = place();
  showSection(section);
  hideDashboard();
  scrollTo(0, 0);
  if (focus) byId(`${section}-heading`).focus();
  if (section === "dashboard") showDashboard();
  else if (section === "users") showUsers(parameters);
  else if (section === "user") showUser(about);
  else if (section === "keys") showKey(about);
  else if (section === "imports") showImports(about);
  else if (section === "service") showService(about);
  else showAudit(parameters);
}

// The guides, and the pages of the API, where this service serves them.
async function showLinks() {
  const links = await fetch(new URL("links.json", import.meta.url), { credentials: "omit" }).then((answer) => answer.json(), () => []);
  byId("links").replaceChildren(...links.map(({ title, href }) => make("a", { href, target: "_blank", rel: "noopener" }, title)));
  byId("links").hidden = !links.length;
}

function enter(profile) {
  me = profile;
  setActor(profile);
  byId("who").textContent = profile.display_name || profile.email || "";
  byId("role").textContent = profile.role;
  byId("nav").hidden = byId("account").hidden = false;
  for (const element of document.querySelectorAll("[data-role=admin]")) element.hidden = profile.role !== "admin";
  route();
}

function leave(notice = "") {
  me = null;
  setActor(null);
  for (const clear of [clearDashboard, clearUsers, clearUser, clearKeys, clearAudit, clearImports, clearService]) clear();
  byId("who").textContent = byId("role").textContent = "";
  byId("nav").hidden = byId("account").hidden = true;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  setNotice(notice);
  showSection("sign-in");
  byId("sign-in-heading").focus();
}

async function signOut() {
  leave();
  try {
    await api.logOut();
    announce("You are signed out.");
  } catch {
    setNotice("Signed out here. The service could not be told: the session ends by itself, or from your list of devices.");
  }
}

// `/` goes to the search from everywhere, except while something is typed or asked.
function shortcut(event) {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing || !me || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  if (place().section !== "users") {
    location.hash = "#/users";
    addEventListener("hashchange", () => byId("search").focus(), { once: true });
  }
  byId("search").focus();
  byId("search").select();
}

async function start() {
  api.keepInCookie("/console/session");
  api.onSessionEnd(() => leave("Your session has ended. Sign in again."));
  wireUsers();
  wireUser();
  wireKeys();
  wireAudit();
  wireImports();
  wireService();
  wireDashboard();
  wireSignIn(enter);
  byId("sign-out").addEventListener("click", signOut);
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
  addEventListener("hashchange", () => route());
  addEventListener("keydown", shortcut);
  showLinks();
  if (await resume(enter)) return;
  showSection("sign-in");
  byId("email").focus();
}

start();
