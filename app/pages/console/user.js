// One user: who they are, what they hold, what happened to them, and what may be done.

import * as api from "./api.js";
import { isAdmin, makeButtons, makeEnding, writeNote } from "./actions.js";
import { badge, facts, make, moment, userLink } from "./element.js";
import { COLUMNS, eventRow } from "./events.js";
import { PagedTable } from "./paged.js";
import { announce, byId, sayBytes } from "./shared/dom.js";
import { badgesOf, nameOf } from "./users.js";

const PAGE = 10;
let shown = null;
let user = null;
let tables = {};

const mono = (text) => make("span", { class: "mono" }, text);

const sayUsage = ({ bytes, objects, quota_bytes: quota, counted_at: at }) => make("span", { "data-testid": "usage" },
  at || bytes
    ? `${sayBytes(bytes)} in ${objects} ${objects === 1 ? "object" : "objects"}${quota === null ? "; no quota" : ` of ${sayBytes(quota)}`} `
    : quota === null ? "Counted only for users who have a quota" : `Not counted yet; quota ${sayBytes(quota)} `,
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

function show(found) {
  user = found;
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
    const found = await api.getUser(id);
    if (id !== shown) return;
    complain(null);
    show(found);
    await Promise.all(Object.values(tables).map((one) => one.refresh()));
  } catch (problem) {
    if (id === shown) complain(problem);
  }
}

export function clearUser() {
  shown = user = null;
  byId("user-heading").textContent = "…";
  byId("user-badges").replaceChildren();
  byId("profile").replaceChildren();
  byId("actions").replaceChildren();
  for (const one of Object.values(tables)) one.clear();
}

const ended = () => showUser(shown);
const mayEnd = () => isAdmin() && user?.status !== "erased";

function signOutOf(session) {
  if (user?.status === "erased" || (!isAdmin() && user?.role === "admin")) return null;
  return makeEnding({
    label: "Sign out", name: session.device_name ?? "Unnamed device", title: "Sign this device out?",
    text: "It is signed out at once, and the keys that it has are revoked. A guest loses the account with the last device.",
    submit: "Sign out", done: "The device is signed out.",
  }, (reason) => api.endOneOf(shown, `/sessions/${session.session_id}/sign-out`, reason), ended);
}

const sessionRow = (session) => [
  make("strong", {}, session.device_name ?? "Unnamed device"), session.method, moment(session.created_at),
  moment(session.last_used_at), mono(session.last_address ?? "–"), signOutOf(session),
];

const passkeyRow = (passkey) => [
  make("strong", {}, passkey.name), passkey.backed_up ? "On several devices" : "On one device",
  moment(passkey.created_at), moment(passkey.last_used_at),
  mayEnd() ? makeEnding({
    label: "Remove", name: passkey.name, title: "Remove this passkey?",
    text: "It no longer signs in, and a mail tells the user. Devices that signed in with it stay signed in.",
    submit: "Remove", done: "The passkey is removed.",
  }, (reason) => api.endOneOf(shown, `/passkeys/${passkey.passkey_id}/remove`, reason), ended) : null,
];

const identityRow = (identity) => [
  make("strong", {}, identity.provider), identity.email, moment(identity.created_at), moment(identity.last_used_at),
  mayEnd() ? makeEnding({
    label: "Remove", name: identity.provider, title: "Remove this outside identity?",
    text: "It no longer signs in, and a mail tells the user. Devices that signed in with it stay signed in.",
    submit: "Remove", done: "The identity is removed.",
  }, (reason) => api.endOneOf(shown, `/identities/${identity.identity_id}/unlink`, reason), ended) : null,
];

function stateOfGrant(grant) {
  if (grant.withdrawn_at) return badge("withdrawn", "bad");
  if (grant.left_at) return badge("left");
  if (grant.expires_at && new Date(grant.expires_at) <= new Date()) return badge("expired");
  if (!grant.grantee_id) return badge("waiting for the address");
  return grant.accepted_at ? badge("accepted", "good") : badge("not accepted yet");
}

const grantRow = (other) => (grant) => [
  mono(grant.path), grant[other] ? userLink(grant[other], grant.other_email ?? undefined) : (grant.other_email ?? "–"),
  stateOfGrant(grant), moment(grant.created_at), grant.expires_at ? moment(grant.expires_at) : "Never",
];

const noteRow = (note) => [
  make("span", { class: "note" }, note.text), userLink(note.author_id, note.author_email ?? undefined), moment(note.created_at),
  mayEnd() ? makeEnding({
    label: "Remove", name: `the note of ${note.author_email ?? "somebody erased"}`, title: "Remove this note?",
    text: "It is gone for good. The audit keeps who removed it and when.", submit: "Remove", done: "The note is removed.",
  }, (reason) => api.endOneOf(shown, `/notes/${note.note_id}/remove`, reason), ended) : null,
];

async function addNote() {
  if (!(await writeNote(user))) return;
  announce("The note is added.");
  await showUser(shown);
}

export function wireUser() {
  byId("add-note").addEventListener("click", () => addNote().catch((problem) => announce(api.explain(problem))));
  const grants = (to) => ["Folder", to, "State", "Since", "Until"];
  tables = {
    notes: table("user-notes", "notes", ["Note", "By", "When", "Action"], noteRow, "Notes, the newest first", "No notes."),
    sessions: table("user-sessions", "sessions", ["Device", "Signed in by", "Since", "Last used", "From", "Action"], sessionRow, "Devices", "Signed in nowhere."),
    passkeys: table("user-passkeys", "passkeys", ["Passkey", "Kept", "Since", "Last used", "Action"], passkeyRow, "Passkeys", "No passkeys."),
    identities: table("user-identities", "identities", ["Provider", "E-mail there", "Since", "Last used", "Action"], identityRow, "Outside identities", "No outside identities."),
    given: table("user-given", "grants/given", grants("Shared with"), grantRow("grantee_id"), "Folders that the user shares, the newest first", "Shares nothing."),
    received: table("user-received", "grants/received", grants("Shared by"), grantRow("owner_id"), "Folders that others share with the user, the newest first", "Nothing is shared with this user."),
    credentials: table("user-credentials", "credentials", ["Access key id", "State", "Access", "Prefix", "Issued", "Expires"], (one) => [
      make("a", { href: `#/keys/${encodeURIComponent(one.access_key_id)}`, class: "mono" }, one.access_key_id),
      stateOf(one), one.access, make("span", { class: "mono", title: one.prefix }, one.prefix.replace(/^users\/[^/]*\//, "…/")),
      moment(one.issued_at), moment(one.expiration),
    ], "Credentials, the newest first", "None was ever issued."),
    events: table("user-events", "audit-events", COLUMNS, eventRow, "Audit events, the newest first", "Nothing happened yet."),
  };
}
