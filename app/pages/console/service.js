// The service itself: how it is, its settings, its signing keys, its mails, the events that it tells, and the accounts
// that are being erased.

import * as api from "./api.js";
import { isAdmin, makeEnding, performWithReason } from "./actions.js";
import { badge, facts, make, moment, userLink } from "./element.js";
import { PagedTable } from "./paged.js";
import { announce, byId } from "./shared/dom.js";

const VIEWS = { health: "Health", settings: "Settings", "signing-keys": "Signing keys", mail: "Mail", events: "Events out", erasures: "Erasures" };
const FOR_ADMINS = ["settings"];
const PARTS = { database: "Database", keys: "Signing keys", engine: "Storage engine" };
const PROVIDERS = {
  answers: ["answers", "good"], silent: ["does not answer", "bad"], misconfigured: ["set up wrongly", "bad"], not_asked_yet: ["not asked yet", ""],
};
const STATES = {
  ok: ["ok", "good"], warning: ["look at this", "accent"], failed: ["failed", "bad"],
  published: ["signs soon", ""], signs: ["signs", "good"], retiring: ["still trusted", ""], retired: ["retired", ""],
};
const PURPOSES = { access: "Access tokens", sts: "Tokens for STS", saml: "SAML assertions for STS" };
let tables = {};
let view = "health";

const mono = (text) => make("span", { class: "mono" }, text);
const state = (known, name) => badge(...(known[name] ?? [name.replaceAll("_", " "), "bad"]));

function sayQueue({ count, is_more: isMore, oldest_at: oldest }, none) {
  if (!count) return none;
  return make("span", {}, `${isMore ? "more than " : ""}${count}, the oldest since `, moment(oldest));
}

function sayCanary({ is_on: isOn, result, passed_at: passed, next_try_at: next }) {
  if (!isOn) return "Off";
  if (!result) return "Has not run yet";
  const kind = { passed: "good", failed: "accent", broken: "bad" }[result];
  return make("span", {}, badge(result, kind), " last passed ", moment(passed), ", next try ", moment(next));
}

function sayRevocation({ mode, waiting, roles }) {
  if (mode === "off") return "Off: credentials live until they expire";
  const failing = roles.filter((role) => role.failures);
  const written = roles.map((role) => role.written_at).filter(Boolean).sort().pop();
  return make("span", {}, failing.length ? badge("the engine cannot be told", "bad") : badge("on", "good"),
    " last written ", moment(written), "; waiting: ", sayQueue(waiting, "none"));
}

function showStatus(status) {
  facts(byId("service-facts"), [
    ...status.health.map(({ part, state: is }) => [PARTS[part] ?? part, state(STATES, is)]),
    ["Revocation", sayRevocation(status.revocation)],
    ["Isolation canary", sayCanary(status.canary)],
    ["Mails waiting", sayQueue(status.mails_waiting, "none")],
    ["Mails given up", sayQueue(status.mails_failed, "none")],
    ["Erasures under way", sayQueue(status.erasures, "none")],
  ]);
  byId("no-providers").hidden = status.providers.length > 0;
  byId("providers").replaceChildren(...status.providers.map((one) => make("div", {},
    make("dt", {}, one.name), make("dd", {}, state(PROVIDERS, one.state), " ", mono(one.issuer), ` for ${one.client_ids.join(", ")}`))));
}

const findingRow = ({ state: is, name, text, repair }) => [
  make("strong", {}, name), state(STATES, is), make("span", { class: "note" }, text, ...(repair ? [make("small", {}, ` ${repair}`)] : [])),
];

const settingRow = (one) => [
  mono(one.name),
  one.is_shown && one.value !== null ? mono(one.value) : badge(one.is_set ? "set" : "not set"),
  one.is_default ? "By default" : "By the operator",
  one.description,
];

const keyRow = (key) => [
  mono(key.kid), PURPOSES[key.purpose] ?? key.purpose, state(STATES, key.state),
  moment(key.created_at), moment(key.signs_from), moment(key.retires_at),
];

const mailRow = (mail) => [
  mail.kind.replaceAll("_", " "),
  mail.user_id ? userLink(mail.user_id, mail.recipient) : mail.recipient,
  moment(mail.created_at), String(mail.attempts), moment(mail.next_try_at ?? mail.failed_at),
  mail.can_retry ? makeEnding({
    label: "Try now", name: `${mail.kind.replaceAll("_", " ")} to ${mail.recipient}`, title: "Send this mail now?",
    text: "It is tried at once. If the mail server refuses it again, it waits or is given up as before.",
    submit: "Try now", done: "The mail is tried now.", calm: true,
  }, (reason) => api.retryMail(mail.mail_id, reason), () => showService("mail")) : "Its link is gone",
];

const outgoingRow = (event) => [
  mono(event.type), event.user_id ? userLink(event.user_id) : "–", moment(event.created_at), String(event.attempts),
  event.delivered_at ? moment(event.delivered_at)
    : event.failed_at ? make("span", {}, badge("given up", "bad"), " ", moment(event.failed_at))
      : make("span", {}, "next try ", moment(event.next_try_at)),
  event.fault ?? "–",
  isAdmin() ? makeEnding({
    label: "Send again", name: `${event.type} ${event.event_id}`, title: "Send this event again?",
    text: "It has the same id and number as before. A server that has seen it does nothing.",
    submit: "Send it", done: "The event is sent now.", calm: true,
  }, (reason) => api.redeliver(event.event_id, reason), () => showService("events")) : "–",
];

const erasureRow = (one) => [
  userLink(one.user_id), moment(one.requested_at), String(one.deleted_objects), String(one.attempts), moment(one.next_try_at),
];

async function rotate() {
  const done = await performWithReason({
    title: "Rotate a signing key?",
    text: "A new key is published now and signs in ten minutes. The old one stays trusted until its last token expires, so nobody notices. A key for SAML assertions signs in a week: upload the metadata to IAM before then. After a theft choose “at once”: then every app has to refresh.",
    fields: [
      { name: "purpose", label: "Key for", options: Object.entries(PURPOSES) },
      { name: "when", label: "When", options: [["soon", "Soon: nobody notices"], ["now", "At once: the old key was stolen"]] },
    ],
    submit: "Rotate",
    danger: true,
  }, ({ purpose, when, reason }) => api.rotateKey({ purpose, at_once: when === "now", reason }));
  if (!done) return;
  announce("The new key is made.");
  await showService("signing-keys");
}

async function sendTest() {
  let sent = null;
  const done = await performWithReason({
    title: "Send an event of a test?", text: "Your server gets one event of the type webhook.test, which tells nothing.", submit: "Send it",
  }, async ({ reason }) => { sent = await api.sendTest(reason); return true; });
  if (!done) return;
  announce(sent.delivered_at ? "Your server took it." : `Your server did not take it: ${sent.fault}.`);
  await showService("events");
}

function complain(problem) {
  byId("service-error").hidden = !problem;
  byId("service-error").replaceChildren(...(problem ? [make("p", {}, api.explain(problem)), make("button", { type: "button", onclick: () => showService(view) }, "Try again")] : []));
}

async function load() {
  if (view === "mail") await Promise.all([tables.waiting.refresh(), tables.failed.refresh()]);
  else if (view === "events") await Promise.all([tables.undelivered.refresh(), tables.delivered.refresh()]);
  else if (view !== "health") await tables[view].refresh();
  else {
    const [status] = await Promise.all([api.getStatus(), isAdmin() ? tables.findings.refresh() : null]);
    showStatus(status);
  }
}

export async function showService(about) {
  view = about in VIEWS && (isAdmin() || !FOR_ADMINS.includes(about)) ? about : "health";
  for (const link of byId("service-views").querySelectorAll("a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("send-test").hidden = !isAdmin();
  for (const part of byId("service").querySelectorAll("[data-part-of]")) part.hidden = part.dataset.partOf !== view || (part.dataset.role === "admin" && !isAdmin());
  document.title = `${VIEWS[view]} – tokenvend`;
  try {
    await load();
    complain(null);
  } catch (problem) {
    complain(problem);
  }
}

export function clearService() {
  for (const table of Object.values(tables)) table.clear();
  byId("service-facts").replaceChildren();
  byId("providers").replaceChildren();
  complain(null);
}

export function wireService() {
  const list = (place, columns, row, label, empty, loadPage) => new PagedTable(byId(place), { columns, row, label, empty, load: loadPage });
  const events = (delivered) => (cursor) => api.listOutgoing({ delivered, cursor });
  const told = ["Event", "User", "Happened", "Tries", "State", "Last fault", "Action"];
  const mails = (of) => (cursor) => api.listMails({ state: of, cursor });
  tables = {
    findings: list("findings", ["Check", "State", "Finding"], findingRow, "What doctor finds", "Nothing was checked.", api.listFindings),
    settings: list("settings-list", ["Setting", "Value", "Chosen", "What it is for"], settingRow, "Settings", "No settings.", api.listSettings),
    "signing-keys": list("signing-key-list", ["Key", "Signs", "State", "Made", "Signs from", "Trusted until"], keyRow, "Signing keys, the newest first", "No keys.", api.listSigningKeys),
    waiting: list("mails-waiting", ["Mail", "To", "Since", "Tries", "Next try", "Action"], mailRow, "Mails that wait, the newest first", "No mail waits.", mails("waiting")),
    failed: list("mails-failed", ["Mail", "To", "Since", "Tries", "Given up", "Action"], mailRow, "Mails that were given up, the newest first", "No mail was given up.", mails("failed")),
    undelivered: list("outgoing-undelivered", told, outgoingRow, "Events that wait or were given up, the newest first", "No event waits.", events("false")),
    delivered: list("outgoing-delivered", told, outgoingRow, "Events that were delivered, the newest first", "No event was delivered.", events("true")),
    erasures: list("erasure-list", ["User", "Asked for", "Objects deleted", "Tries", "Next try"], erasureRow, "Erasures under way, the newest first", "No account is being erased.", (cursor) => api.listErasures({ cursor })),
  };
  byId("send-test").addEventListener("click", () => sendTest().catch((problem) => announce(api.explain(problem))));
  byId("rotate-key").addEventListener("click", () => rotate().catch((problem) => announce(api.explain(problem))));
}
