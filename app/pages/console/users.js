// Finding users as one types, in any order; acting on many; inviting one.

import * as api from "./api.js";
import { badge, make, moment } from "./element.js";
import { Filters, download, queryOf, sayCount } from "./lists.js";
import { PagedTable, Selection } from "./paged.js";
import { announce, byId } from "./shared/dom.js";
import { ask } from "./shared/question.js";
import { REASON, isAdmin, perform } from "./actions.js";

const PAUSE = 200;
const NEWEST = "created_at desc";
const filters = new Filters({
  query: "search", status: "status-filter", role: "role-filter", kind: "kind-filter", email_verified: "verified-filter",
  mfa_enabled: "mfa-filter", seen_after: "seen-after", seen_before: "seen-before", import_id: "import-filter",
}, { times: ["seen_after", "seen_before"], fold: "fold-users" });
let waiting = 0;
let counting = 0;
let list = null;
let chosen = null;
let exporting = null;

export const nameOf = (user) => user.display_name || user.email || (user.status === "erased" ? "Erased user" : "Guest");

export function badgesOf(user) {
  return [
    badge(user.status, { active: "good", disabled: "bad" }[user.status]),
    user.role === "user" ? null : badge(user.role, "accent"),
    user.guest ? badge("guest") : null,
  ].filter(Boolean);
}

const row = (user) => [
  make("a", { href: `#/users/${user.id}`, class: "primary-cell" },
    make("strong", {}, nameOf(user)),
    user.email && user.display_name ? make("small", {}, user.email) : null),
  make("span", { class: "badges" }, ...badgesOf(user), user.email && !user.email_verified ? badge("unverified") : null),
  user.mfa_enabled ? "On" : "Off",
  moment(user.created_at),
  moment(user.last_seen_at),
];

function order() {
  const [sort, direction] = byId("sort").value.split(" ");
  return { sort, direction };
}

// A heading that is chosen again sorts the other way. Names begin with A, times with the newest.
function sortBy(name) {
  const now = order();
  const first = name === "email" ? "asc" : "desc";
  const other = { asc: "desc", desc: "asc" }[now.direction];
  byId("sort").value = `${name} ${now.sort === name ? other : first}`;
  search(0);
}

function asked() {
  const { kind, seen_after: after, seen_before: before, ...given } = filters.read();
  return {
    ...given,
    guest: kind,
    last_seen_after: after,
    last_seen_before: before,
  };
}

async function load(cursor) {
  if (!cursor) count();
  return api.listUsers({ ...asked(), ...order(), cursor });
}

async function count() {
  const mine = ++counting;
  byId("user-total").textContent = "…";
  try {
    const found = await api.countUsers(asked());
    if (mine === counting) byId("user-total").textContent = sayCount(found, "user", "users");
  } catch {
    if (mine === counting) byId("user-total").textContent = "";
  }
}

function search(pause) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const query = queryOf({ ...filters.read(), sort: byId("sort").value === NEWEST ? "" : byId("sort").value });
    history.replaceState(null, "", query ? `#/users?${query}` : "#/users");
    list.refresh();
  }, pause);
}

// The arrow keys go from the field into the results, through them and back.
function step(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  const stops = [byId("search"), ...list.body.querySelectorAll("a")];
  const place = stops.indexOf(document.activeElement);
  if (place < 0 || !stops[place + by]) return;
  event.preventDefault();
  stops[place + by].focus();
}

async function open(event) {
  event.preventDefault();
  clearTimeout(waiting);
  await list.refresh();
  const [first, second] = list.body.querySelectorAll("a");
  if (first && !second) location.hash = first.getAttribute("href");
  else first?.focus();
}

async function invite() {
  const created = await perform({
    title: "Invite a user",
    text: "A mail with a link to choose a password goes to the address. The link is good for 24 hours.",
    fields: [
      { name: "email", label: "E-mail", type: "email" },
      { name: "display_name", label: "Name (if known)", maxlength: 100, required: false },
      { name: "role", label: "Role", options: [["user", "User"], ["support", "Support"], ["admin", "Admin"]] },
    ],
    submit: "Send the invitation",
  }, ({ email, display_name: name, role }) => api.createUser({ email, role, ...(name.trim() ? { display_name: name.trim() } : {}) }));
  if (!created) return;
  // Once the view of lists has gone, which takes what was announced along.
  addEventListener("hashchange", () => announce(`${created.email} is invited.`), { once: true });
  location.hash = `#/users/${created.id}`;
}

// What may be done to many, each by the rules of the act on one.
const ACTS = {
  sign_out: ["Sign out everywhere", "All their devices are signed out at once. Guests have no other way in, and lose their accounts."],
  unlock: ["Unlock sign-in", "Wrong passwords and codes that were tried until now no longer count."],
  send_password_reset: ["Send password resets", "A mail with a link, good for ten minutes, goes to each stored address."],
  revoke_credentials: ["Revoke credentials", "The credentials that are out stop working. Devices stay signed in and fetch new ones.", "admin"],
  disable: ["Disable", "They are signed out and kept out, from their next request on.", "admin"],
  enable: ["Enable", "They can sign in again.", "admin"],
};

function showChosen() {
  const { size } = chosen;
  byId("chosen").textContent = size ? `${size} chosen` : "None chosen";
  byId("bulk-act").disabled = byId("bulk-run").disabled = !size;
}

function offerActs() {
  const allowed = Object.entries(ACTS).filter(([, [, , role]]) => !role || isAdmin());
  byId("bulk-act").replaceChildren(...allowed.map(([name, [label]]) => new Option(label, name)));
}

async function actOnChosen(event) {
  event.preventDefault();
  const act = byId("bulk-act").value;
  const [label, text] = ACTS[act];
  const { ids } = chosen;
  const names = Object.fromEntries(ids.map((id) => [id, chosen.nameOfId(id)]));
  const people = `${ids.length} ${ids.length === 1 ? "user" : "users"}`;
  const report = await perform({ title: `${label}: ${people}`, text, fields: [REASON], submit: label, danger: act === "disable" || act === "revoke_credentials" },
    ({ reason }) => {
      if (!reason.trim()) throw new api.Problem({ detail: "Say why: the reason stands in the audit." });
      return api.actOnUsers(act, ids, reason);
    });
  if (!report) return;
  await list.refresh();
  byId("chosen").focus();
  announce(`${label}: ${report.done} done${report.refused ? `, ${report.refused} refused` : ""}.`);
  if (report.refused) await tellRefusals(label, report, names);
}

const tellRefusals = (label, report, names) => ask({
  title: `${label}: ${report.refused} of ${report.items.length} refused`,
  text: report.items.filter((one) => one.code).map((one) => `${names[one.user_id]}: ${api.explain(new api.Problem(one))}`).join("\n"),
  submit: "Close",
}, () => true);

async function exportList() {
  exporting = new AbortController();
  byId("export-users").disabled = true;
  try {
    const response = await api.exportUsers(asked(), exporting.signal);
    await download(response, "text/csv", `users-${new Date().toISOString().slice(0, 10)}.csv`, (text) => { byId("user-total").textContent = text; });
    announce("The file is complete.");
  } catch (problem) {
    if (problem.name !== "AbortError") announce(problem instanceof api.Problem ? api.explain(problem) : "The download broke off, and nothing was saved.");
  } finally {
    byId("export-users").disabled = false;
    exporting = null;
    count();
  }
}

export function showUsers(parameters) {
  offerActs();
  if (parameters.size) {
    filters.fill(parameters);
    byId("sort").value = parameters.get("sort") ?? NEWEST;
  }
  list.refresh();
}

export function clearUsers() {
  clearTimeout(waiting);
  counting += 1;
  exporting?.abort();
  byId("search-form").reset();
  byId("user-total").textContent = "";
  list.clear();
}

export function wireUsers() {
  chosen = new Selection({ nameOf, most: 100, onChange: showChosen });
  list = new PagedTable(byId("user-list"), {
    label: "Users",
    columns: [{ label: "User", sort: "email" }, "Status", "2-step", { label: "Created", sort: "created_at" }, { label: "Last seen", sort: "last_seen_at" }],
    load,
    row,
    empty: "No user matches.",
    order: { chosen: order, choose: sortBy },
    selection: chosen,
  });
  byId("search").addEventListener("input", () => search(PAUSE));
  for (const id of [...Object.values(filters.fields), "sort"]) if (id !== "search") byId(id).addEventListener("change", () => search(0));
  byId("search-form").addEventListener("submit", open);
  byId("clear-users").addEventListener("click", () => { byId("search-form").reset(); search(0); });
  byId("users").addEventListener("keydown", step);
  byId("bulk").addEventListener("submit", (event) => actOnChosen(event).catch((problem) => announce(api.explain(problem))));
  byId("export-users").addEventListener("click", exportList);
  byId("create-user").addEventListener("click", () => invite().catch((problem) => announce(api.explain(problem))));
}
