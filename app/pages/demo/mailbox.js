// In development no mail leaves the machine: what was sent is shown here, and its links can be followed. The service
// shows it to pages on its own machine alone; elsewhere this stops asking, and its log has the mails.

import * as api from "./api.js";
import { announce, byId, part, sayTime, stamp } from "./shared/dom.js";

const EVERY = 2000;
const LINK = /https?:\/\/\S+#token=(\S+)/;
const dialog = byId("mailbox");
const rows = new Map(); // by what the mail says
let refused = false;
let changed = () => {};

function makeRow({ to, subject, sent_at: sentAt, text }) {
  const row = stamp("mail-row");
  part(row, "subject").textContent = subject;
  part(row, "facts").textContent = `to ${to}, ${sayTime(new Date(sentAt))}`;
  part(row, "text").textContent = text;
  const [link, token] = text.match(LINK) ?? [];
  part(row, "link").hidden = !link;
  if (link) part(row, "link").href = link;
  // An account without a password confirms a new address where it is signed in: the page of the link cannot.
  const confirm = part(row, "confirm");
  confirm.dataset.forEmailChange = Boolean(link?.includes("/change-email"));
  confirm.addEventListener("click", async () => {
    confirm.disabled = true;
    try {
      await api.confirmAddress(token);
      dialog.close();
      announce("The address is yours now.");
      changed();
    } catch (problem) {
      announce(api.explain(problem));
    } finally {
      confirm.disabled = false;
    }
  });
  return row;
}

function show(mails) {
  const identified = mails.map((mail) => [JSON.stringify(mail), mail]);
  const keys = new Set(identified.map(([key]) => key));
  for (const [key, row] of rows) {
    if (keys.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  // The newest come first. One that is read stays as it is.
  for (const [key, mail] of identified.reverse()) {
    if (rows.has(key)) continue;
    rows.set(key, makeRow(mail));
    byId("mails").prepend(rows.get(key));
  }
  byId("open-mailbox").hidden = mails.length === 0;
  byId("mail-count").textContent = mails.length;
}

async function look() {
  if (document.hidden || refused) return;
  const response = await fetch(new URL("mailbox", import.meta.url), { cache: "no-store" }).catch(() => null);
  refused = response?.status === 403;
  if (response?.ok) show(await response.json());
}

export const allowConfirming = (allowed) => { dialog.dataset.signedIn = allowed; };

export function watchMailbox(onChange) {
  changed = onChange;
  byId("open-mailbox").addEventListener("click", () => dialog.showModal());
  byId("close-mailbox").addEventListener("click", () => dialog.close());
  look();
  setInterval(look, EVERY);
}
