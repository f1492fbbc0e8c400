// Passkeys: signing in with one, adding, naming and removing them.

import { loadAccount } from "./account.js";
import * as api from "./api.js";
import { announce, byId, part, sayTime, stamp } from "./shared/dom.js";
import { busy, create, get, isAddress, isSupported } from "./shared/passkeys.js";
import { deviceName } from "./sign-in.js";

const signIn = (onSignedIn) =>
  busy(byId("passkey-sign-in"), async () => {
    byId("form-error").textContent = "";
    await api.logInWithPasskey({ credential: await get(), device_name: deviceName() });
    await onSignedIn();
  }, (text) => { byId("form-error").textContent = text; });

const add = () =>
  busy(byId("add-passkey"), async () => {
    const { name } = await api.addPasskey(await create(await api.passkeyOptions()));
    announce(`${name} is added: it signs you in without a password.`);
    await Promise.all([loadPasskeys(), loadAccount()]); // a guest is none any more
  }, announce);

const sayUse = ({ created_at: created, last_used_at: used }) =>
  used ? `Used ${sayTime(new Date(used))}` : `Added ${sayTime(new Date(created))}`;

function makeRow(passkey) {
  const row = stamp("passkey-row");
  const turn = (state) => { row.dataset.state = state; };
  const act = (name, handler) => part(row, name).addEventListener("click", handler);
  const field = part(row, "new-name");
  part(row, "name").textContent = part(row, "named").textContent = passkey.name;
  part(row, "since").textContent = `${sayUse(passkey)}${passkey.backed_up ? " · on your other devices too" : ""}`;
  part(row, "rename").setAttribute("aria-label", `Rename ${passkey.name}`);
  part(row, "remove").setAttribute("aria-label", `Remove ${passkey.name}`);
  act("rename", () => { turn("naming"); field.value = passkey.name; field.select(); });
  act("remove", () => { turn("removing"); part(row, "keep").focus(); });
  act("keep", () => { turn("shown"); part(row, "remove").focus(); });
  act("confirm", ({ currentTarget }) => busy(currentTarget, async () => {
    await api.removePasskey(passkey.passkey_id);
    announce(`${passkey.name} signs nobody in any more. Your device may still offer it: delete it there too.`);
    await loadPasskeys();
    byId("add-passkey").focus(); // the button that had the focus is gone
  }, announce));
  part(row, "naming").addEventListener("submit", (event) => {
    event.preventDefault();
    busy(part(row, "save"), async () => {
      await api.renamePasskey(passkey.passkey_id, field.value.trim());
      await loadPasskeys();
    }, announce);
  });
  part(row, "naming").addEventListener("keydown", ({ key }) => { if (key === "Escape") turn("shown"); });
  return row;
}

export async function loadPasskeys() {
  try {
    byId("passkeys").replaceChildren(...(await api.listPasskeys()).map(makeRow));
  } catch (problem) {
    byId("passkeys").textContent = api.explain(problem);
  }
}

export const clearPasskeys = () => byId("passkeys").replaceChildren();

function sayWhyNot() {
  const elsewhere = new URL(location.href);
  elsewhere.hostname = "localhost";
  for (const note of document.querySelectorAll("[data-passkey-note]")) {
    note.hidden = false;
    note.textContent = isAddress()
      ? "Passkeys belong to a name, and this page’s address has none. "
      : "This browser does not offer passkeys to pages.";
    if (!isAddress()) continue;
    const link = document.createElement("a");
    link.href = elsewhere.href;
    link.textContent = `Try them at ${elsewhere.host}.`;
    note.append(link);
  }
}

export function wirePasskeys(onSignedIn) {
  byId("passkey-sign-in").hidden = byId("add-passkey").hidden = !isSupported();
  if (!isSupported()) sayWhyNot();
  byId("passkey-sign-in").addEventListener("click", () => signIn(onSignedIn));
  byId("add-passkey").addEventListener("click", add);
}
