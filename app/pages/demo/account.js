// The person's own account: what it is, and all that they may do about it.

import * as api from "./api.js";
import { announce, byId, part } from "./shared/dom.js";
import { ask } from "./shared/question.js";
import { freshly, renewCodes, setUp } from "./shared/second-factor.js";

const card = byId("own-account");
const NEW_PASSWORD = { name: "new_password", label: "New password", type: "password", autocomplete: "new-password" };
const OLD_PASSWORD = { name: "current_password", label: "Password now", type: "password", autocomplete: "current-password" };
let me = null;
let gone = () => {};

const isGuest = () => me.email === null;

function show() {
  part(card, "address").textContent = isGuest() ? "None: you are a guest on this device" : me.email;
  part(card, "verified").textContent = isGuest() ? "–" : me.email_verified ? "Yes" : "Not yet";
  part(card, "mfa").textContent = me.mfa_enabled ? "Authenticator app" : "None";
  byId("who").textContent = me.display_name || me.email || "Guest";
  byId("upgrade").hidden = !isGuest();
  byId("verify").hidden = isGuest() || me.email_verified;
  byId("change-password").hidden = byId("change-address").hidden = isGuest();
  byId("set-up-totp").hidden = me.mfa_enabled || isGuest();
  byId("remove-totp").hidden = byId("renew-codes").hidden = !me.mfa_enabled;
}

export async function loadAccount() {
  me = await api.me();
  show();
  return me;
}

async function verify() {
  await api.requestVerification(me.email);
  announce("A mail is on its way. In development it is shown on this page.");
}

async function changePassword() {
  const done = await ask({
    title: "Change the password",
    text: "Your other devices are signed out.",
    fields: [OLD_PASSWORD, NEW_PASSWORD],
    submit: "Change it",
  }, api.changePassword);
  if (done) announce("The password is changed.");
}

async function changeAddress() {
  const done = await ask({
    title: "Change the address",
    text: "It changes once the link in the mail to the new address was opened.",
    fields: [
      { name: "new_email", label: "New address", type: "email", autocomplete: "email" },
      { ...OLD_PASSWORD, name: "password" },
    ],
    submit: "Send the mail",
  }, api.changeAddress);
  if (done) announce("A mail is on its way to the new address.");
}

async function upgrade() {
  const done = await ask({
    title: "Keep this album",
    text: "With an address and a password it is yours on every device. No picture moves.",
    fields: [
      { name: "email", label: "E-mail", type: "email", autocomplete: "username" },
      { ...NEW_PASSWORD, name: "password", label: "Password" },
    ],
    submit: "Keep it",
  }, api.upgrade);
  if (!done) return;
  announce(done.status === "active" ? "The album is yours to keep." : "Open the link in the mail we sent you.");
}

async function removeTotp() {
  const done = await ask({
    title: "Remove the authenticator app?",
    text: "Then the password alone signs you in, and the recovery codes are useless.",
    submit: "Remove it",
    danger: true,
  }, () => true);
  if (done && (await freshly(true, async () => { await api.removeTotp(); return true; }))) {
    announce("The authenticator app is removed. Your other devices are signed out.");
  }
}

async function erase() {
  const proof = isGuest() ? [] : [{ ...OLD_PASSWORD, name: "password", label: "Password" }];
  const form = await ask({
    title: "Delete the account?",
    text: "It is gone at once, with every picture, and nothing brings it back.",
    fields: proof,
    submit: "Delete for good",
    danger: true,
  }, (answers) => answers);
  if (form && (await freshly(me.mfa_enabled, async () => { await api.erase(form); return true; }))) {
    me = null;
    gone();
  }
}

export function wireAccount(onGone) {
  gone = onGone;
  const on = (id, act) => byId(id).addEventListener("click", async () => {
    try {
      await act();
      if (me) await loadAccount();
    } catch (problem) {
      announce(problem.message);
    }
  });
  on("verify", verify);
  on("upgrade", upgrade);
  on("change-password", changePassword);
  on("change-address", changeAddress);
  on("set-up-totp", setUp);
  on("remove-totp", removeTotp);
  on("renew-codes", renewCodes);
  on("erase", erase);
  // Links in mails are opened beside this page: what they did shows when one comes back.
  addEventListener("focus", () => { if (me) loadAccount().catch(() => {}); });
}

export function clearAccount() {
  me = null;
}
