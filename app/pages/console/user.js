// One user: who they are, what they hold, what happened to them, and what may be done.

import * as api from "./api.js";
import { makeButtons } from "./actions.js";
import { badge, facts, make, moment } from "./element.js";
import { COLUMNS, eventRow } from "./events.js";
import { PagedTable } from "./paged.js";
import { byId, sayBytes } from "./shared/dom.js";
import { badgesOf, nameOf } from "./users.js";

const PAGE = 10;
let shown = null;
let tables = {};

const mono = (text) => make("span", { class: "mono" }, text);

const sayUsage = ({ bytes, objects, quota_bytes: quota, counted_at: at }) => make("span", { "data-testid": "usage" },
  at || bytes
    ? `${sayBytes(bytes)} in ${objects} ${objects === 1 ? "object" : "objects"}${quota === null ? "; no quota" : ` of ${sayBytes(quota)}`} `
    : `Not counted${quota === null ? "; no quota" : ` yet; quota ${sayBytes(quota)}`} `,
  ...(quota !== null && bytes >= quota ? [badge("full", "bad")] : []), ...(at ? [" · counted ", moment(at)] : []));

export function stateOf(credential) {
  if (credential.revoked_at) return badge("revoked", "bad");
  return new Date(credential.expiration) > new Date() ? badge("live", "good") : badge("expired");
}

function table(place, list, columns, row, label, empty) {
  return new PagedTable(byId(place), {
    label, columns, row, empty, load: (cursor) => api.listOfUser(shown, list, { limit: PAGE, cursor }),
  });
}

function show(user) {
  byId("user-heading").textContent = nameOf(user);
  document.title = `${nameOf(user)} – console`;
  byId("user-badges").replaceChildren(...badgesOf(user));
  facts(byId("profile"), [
    ["E-mail", user.email ? make("span", {}, user.email, " ", user.email_verified ? badge("verified", "good") : badge("not verified")) : null],
    ["Name", user.display_name],
    ["Role", user.role],
    ["Second factor", user.mfa_enabled ? "Authenticator app" : "No authenticator app"],
    ["Sign-in", user.locked_until ? make("span", { "data-testid": "locked" }, badge("locked", "bad"), " until ", moment(user.locked_until)) : "Not locked"],
    ["Storage", sayUsage(user.usage)],
    ["Created", moment(user.created_at)],
    ["Last seen", moment(user.last_seen_at)],
    ["Id", mono(user.id)],
    ["Prefix", mono(user.prefix)],
  ]);
  const buttons = makeButtons(user, acted);
  byId("actions").replaceChildren(...(buttons.length ? buttons : [make("p", { class: "hint" }, "Nothing that your role may do.")]));
  byId("all-events").href = `#/audit?subject=${encodeURIComponent(user.id)}`;
}

// What was done shows in the audit too; the focus stays where it was, if its button is still there.
async function acted(id) {
  await showUser(shown);
  (document.querySelector(`[data-action="${id}"]`) ?? byId("user-heading")).focus();
}

function complain(problem) {
  byId("user-error").hidden = byId("user-body").hidden = !problem;
  byId("user-error").hidden = !problem;
  byId("user-body").hidden = Boolean(problem);
  if (!problem) return;
  byId("user-heading").textContent = "User";
  byId("user-badges").replaceChildren();
  byId("user-error").replaceChildren(
    make("p", {}, problem.status === 404 || problem.status === 422 ? "There is no such user." : api.explain(problem)),
    make("button", { type: "button", onclick: () => showUser(shown) }, "Try again"),
  );
}

export async function showUser(id) {
  if (id !== shown) {
    clearUser();
    shown = id;
  }
  try {
    const user = await api.getUser(id);
    if (id !== shown) return;
    complain(null);
    show(user);
    await Promise.all(Object.values(tables).map((one) => one.refresh()));
  } catch (problem) {
    if (id === shown) complain(problem);
  }
}

export function clearUser() {
  shown = null;
  byId("user-heading").textContent = "…";
  byId("user-badges").replaceChildren();
  byId("profile").replaceChildren();
  byId("actions").replaceChildren();
  for (const one of Object.values(tables)) one.clear();
}

export function wireUser() {
  tables = {
    sessions: table("user-sessions", "sessions", ["Device", "Signed in by", "Since", "Last used"], (session) => [
      make("strong", {}, session.device_name ?? "Unnamed device"), session.method, moment(session.created_at), moment(session.last_used_at),
    ], "Devices", "Signed in nowhere."),
    credentials: table("user-credentials", "credentials", ["Access key id", "State", "Access", "Prefix", "Issued", "Expires"], (one) => [
      make("a", { href: `#/keys/${encodeURIComponent(one.access_key_id)}`, class: "mono" }, one.access_key_id),
      stateOf(one), one.access, make("span", { class: "mono", title: one.prefix }, one.prefix.replace(/^users\/[^/]*\//, "…/")),
      moment(one.issued_at), moment(one.expiration),
    ], "Credentials, the newest first", "None was ever issued."),
    events: table("user-events", "audit-events", COLUMNS, eventRow, "Audit events, the newest first", "Nothing happened yet."),
  };
}
