// Finding users as one types, and inviting one.

import * as api from "./api.js";
import { badge, make, moment } from "./element.js";
import { PagedTable } from "./paged.js";
import { announce, byId } from "./shared/dom.js";
import { perform } from "./actions.js";

const PAUSE = 200;
let waiting = 0;
let list = null;

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
  make("span", { class: "badges" }, ...badgesOf(user)),
  user.mfa_enabled ? "On" : "Off",
  moment(user.created_at),
  moment(user.last_seen_at),
];

const load = (cursor) => api.listUsers({
  query: byId("search").value.trim(),
  status: byId("status-filter").value,
  role: byId("role-filter").value,
  cursor,
});

function search(pause) {
  clearTimeout(waiting);
  waiting = setTimeout(() => list.refresh(), pause);
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
  announce(`${created.email} is invited.`);
  location.hash = `#/users/${created.id}`;
}

export function showUsers() {
  list.refresh();
}

export function clearUsers() {
  clearTimeout(waiting);
  byId("search-form").reset();
  list.clear();
}

export function wireUsers() {
  list = new PagedTable(byId("user-list"), {
    label: "Users, the newest first",
    columns: ["User", "Status", "2-step", "Created", "Last seen"],
    load,
    row,
    empty: "Nobody fits.",
  });
  byId("search").addEventListener("input", () => search(PAUSE));
  byId("status-filter").addEventListener("change", () => search(0));
  byId("role-filter").addEventListener("change", () => search(0));
  byId("search-form").addEventListener("submit", open);
  byId("users").addEventListener("keydown", step);
  byId("create-user").addEventListener("click", () => invite().catch((problem) => announce(api.explain(problem))));
}
