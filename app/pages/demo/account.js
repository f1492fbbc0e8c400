// The person's own account: what it is, and all that they may do about it.

import * as api from "./api.js";
import { allowConfirming } from "./mailbox.js";
import { announce, byId, part, sayBytes, sayTime } from "./shared/dom.js";
import { ask } from "./shared/question.js";
import { freshly, renewCodes, setUp } from "./shared/second-factor.js";

const card = byId("own-account");
const NEW_PASSWORD = { name: "new_password", label: "New password", type: "password", autocomplete: "new-password" };
const OLD_PASSWORD = {
  name: "current_password", label: "Password now", type: "password", autocomplete: "current-password", required: false,
  hint: "Leave it empty if the account has none.",
};
let me = null;
let gone = () => {};

// A guest who adds a passkey is no guest any more, and has no address yet.
const hasAddress = () => me.email !== null;

function sayAddress() {
  if (me.guest) return "None: you are a guest on this device";
  return me.email ?? "None: your passkey signs you in";
}

function show() {
  part(card, "address").textContent = sayAddress();
  part(card, "verified").textContent = hasAddress() ? (me.email_verified ? "Yes" : "Not yet") : "–";
  part(card, "mfa").textContent = me.mfa_enabled ? "Authenticator app" : "None";
  byId("who").textContent = me.display_name || me.email || (me.guest ? "Guest" : "You");
  byId("upgrade").hidden = !me.guest;
  byId("verify").hidden = !hasAddress() || me.email_verified;
  byId("change-password").hidden = !hasAddress();
  byId("change-address").hidden = me.guest;
  byId("change-address").textContent = hasAddress() ? "Change the address" : "Add an address";
  byId("set-up-totp").hidden = me.mfa_enabled || me.guest;
  byId("remove-totp").hidden = byId("renew-codes").hidden = !me.mfa_enabled;
  allowConfirming(!me.guest);
}

export async function loadAccount() {
  me = await api.me();
  show();
  return me;
}

// The service counts from time to time, and nobody who has no quota.
export async function loadUsage() {
  const { bytes, quota_bytes: quota, counted_at: at } = await api.usage();
  if (!me) return;
  const counted = at ? `, counted ${sayTime(new Date(at))}` : ", not counted yet";
  part(card, "storage").textContent = quota === null ? "No limit" : `${sayBytes(bytes)} of ${sayBytes(quota)}${counted}`;
  const bar = byId("usage");
  bar.hidden = quota === null;
  bar.value = quota ? Math.min(1, bytes / quota) : 1;
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
  }, ({ current_password: old, new_password }) => api.changePassword({ current_password: old || null, new_password }));
  if (done) announce("The password is changed.");
}

async function changeAddress() {
  const words = hasAddress()
    ? { title: "Change the address", text: "It changes once the link in the mail to the new address was opened." }
    : { title: "Add an address", text: "It is yours once you confirm the mail that goes there, on this page." };
  const done = await ask({
    ...words,
    fields: [
      { name: "new_email", label: hasAddress() ? "New address" : "E-mail", type: "email", autocomplete: "email" },
      ...(hasAddress() ? [{ ...OLD_PASSWORD, name: "password" }] : []),
    ],
    submit: "Send the mail",
  }, ({ new_email, password }) => api.changeAddress({ new_email, password: password || null }));
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
  const proof = hasAddress() ? [{ ...OLD_PASSWORD, name: "password", label: "Password" }] : [];
  const form = await ask({
    title: "Delete the account?",
    text: "It is gone at once, with every picture, and nothing brings it back.",
    fields: proof,
    submit: "Delete for good",
    danger: true,
  }, ({ password }) => ({ password: password || null }));
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
      announce(api.explain(problem));
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
  addEventListener("focus", () => { if (me) Promise.all([loadAccount(), loadUsage()]).catch(() => {}); });
}

export function clearAccount() {
  me = null;
  for (const cell of card.querySelectorAll("dd[data-part]")) cell.textContent = "";
  byId("usage").hidden = true;
  allowConfirming(false);
}
