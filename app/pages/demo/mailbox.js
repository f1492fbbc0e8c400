// In development no mail leaves the machine: what was sent is shown here, and its links can be followed. The service
// shows it to pages on its own machine alone; elsewhere this stops asking, and its log has the mails.

import { byId, part, sayTime, stamp } from "./shared/dom.js";

const EVERY = 2000;
const LINK = /https?:\/\/\S+#token=\S+/;
let shown = "";
let refused = false;

function makeRow({ to, subject, sent_at: sentAt, text }) {
  const row = stamp("mail-row");
  part(row, "subject").textContent = subject;
  part(row, "facts").textContent = `to ${to}, ${sayTime(new Date(sentAt))}`;
  const link = text.match(LINK)?.[0];
  part(row, "link").hidden = !link;
  if (link) part(row, "link").href = link;
  return row;
}

async function look() {
  if (document.hidden || refused) return;
  const response = await fetch(new URL("mailbox", import.meta.url), { cache: "no-store" }).catch(() => null);
  refused = response?.status === 403;
  if (!response?.ok) return;
  const mails = await response.json();
  const seen = JSON.stringify(mails);
  if (seen === shown) return;
  shown = seen;
  byId("mailbox").hidden = mails.length === 0;
  byId("mail-count").textContent = mails.length;
  byId("mails").replaceChildren(...mails.map(makeRow));
}

export function watchMailbox() {
  look();
  setInterval(look, EVERY);
}
