// Whose an access key is, and why AWS refused what it asked for.

import * as api from "./api.js";
import { actOn, isAdmin } from "./actions.js";
import { badge, facts, make, moment, userLink } from "./element.js";
import { byId } from "./shared/dom.js";
import { stateOf } from "./user.js";

let latest = 0;

function answer(known) {
  const { credential, user, session } = known;
  const list = make("dl", { class: "facts", "data-testid": "key-facts" });
  const rows = [["State", credential ? stateOf(credential) : badge("not vended here")]];
  if (credential) {
    rows.push(
      ["User", userLink(credential.user_id, user?.display_name || user?.email || credential.user_id)],
      ["Address", user?.email],
      ["User status", user ? badge(user.status, { active: "good", disabled: "bad" }[user.status]) : null],
      ["Device", session ? `${session.device_name ?? "Unnamed device"}${session.ended_at ? " (signed out)" : ""}` : "No longer known"],
      ["Access", credential.access],
      ["Prefix", make("span", { class: "mono" }, credential.prefix)],
      ["Issued", moment(credential.issued_at)],
      ["Expires", moment(credential.expiration)],
    );
    // Revoked is what the service did: what has the key works until S3 is told, or until it expires.
    if (credential.revoked_at) {
      rows.push(["Revoked", moment(credential.revoked_at)], ["S3 refuses it by", moment(credential.effective_by)]);
    }
  }
  rows.push(["AWS account", known.account ?? "STS does not say"]);
  facts(list, rows);
  const nodes = [list];
  if (!credential) nodes.push(make("p", { class: "hint" }, "It is not in this service’s ledger: look for it in the account that STS names."));
  if (known.alive && isAdmin()) {
    nodes.push(make("button", { type: "button", class: "danger", "data-testid": "revoke-key", onclick: revoke }, "Revoke this user’s credentials"));
  }
  byId("key-answer").replaceChildren(...nodes);

  async function revoke() {
    try {
      if (await actOn({ id: credential.user_id }, "revoke")) await showKey(known.access_key_id);
    } catch (problem) {
      byId("key-error").textContent = api.explain(problem);
    }
  }
}

export async function showKey(id) {
  const mine = ++latest;
  byId("key").value = id;
  byId("key-error").textContent = "";
  byId("key-answer").replaceChildren();
  if (!id) return;
  byId("key-answer").setAttribute("aria-busy", "true");
  try {
    const known = await api.findKey(id);
    if (mine === latest) answer(known);
  } catch (problem) {
    if (mine !== latest) return;
    const words = {
      404: "Neither this service nor STS knows this key.",
      422: "This is no access key id: it has 16 to 128 letters and digits, and begins with ASIA or AKIA at AWS.",
    };
    byId("key-error").textContent = words[problem.status] ?? api.explain(problem);
  } finally {
    if (mine === latest) byId("key-answer").removeAttribute("aria-busy");
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function decode(event) {
  event.preventDefault();
  byId("decode-error").textContent = "";
  byId("decoded").replaceChildren();
  const message = byId("message").value.replace(/\s/g, "");
  if (!message) {
    byId("decode-error").textContent = "Paste what stands after “Encoded authorization failure message:”.";
    return byId("message").focus();
  }
  try {
    const { decoded_message: decoded } = await api.decodeMessage(message);
    byId("decoded").replaceChildren(make("pre", { tabindex: "0", role: "region", "aria-label": "Decoded message" }, pretty(decoded)));
  } catch (problem) {
    byId("decode-error").textContent = api.explain(problem);
  }
}

export function clearKeys() {
  latest += 1;
  byId("key-form").reset();
  byId("decode-form").reset();
  for (const id of ["key-answer", "decoded", "key-error", "decode-error"]) byId(id).replaceChildren();
}

export function wireKeys() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const target = `#/keys/${encodeURIComponent(byId("key").value.trim())}`;
    if (location.hash === target) showKey(byId("key").value.trim());
    else location.hash = target;
  });
  byId("decode-form").addEventListener("submit", decode);
}
