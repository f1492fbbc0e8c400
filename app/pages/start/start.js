// Shows the mails that were not sent. The service gives them to its own machine alone.

import { byId, part, sayTime, stamp } from "./shared/dom.js";

const EVERY = 2000;
const LINK = /(https?:\/\/\S+)/;
let shown = "[]";
let refused = false;

function makeRow({ to, subject, sent_at: sentAt, text }) {
  const row = stamp("mail-row");
  part(row, "subject").textContent = subject;
  part(row, "facts").textContent = `to ${to}, ${sayTime(new Date(sentAt))}`;
  part(row, "text").setAttribute("aria-label", `Text of ${subject}`);
  part(row, "text").append(...text.trim().split(LINK).map(linked));
  return row;
}

const linked = (piece) => (LINK.test(piece) ? Object.assign(document.createElement("a"), { href: piece, textContent: piece }) : piece);

async function look() {
  if (document.hidden || refused) return;
  const response = await fetch(new URL("../demo/mailbox", import.meta.url), { cache: "no-store" }).catch(() => null);
  refused = response?.status === 403;
  if (refused) byId("no-mail").textContent = "Mails are shown to the machine itself alone. Its log has them too.";
  if (!response?.ok) return;
  const mails = await response.json();
  const seen = JSON.stringify(mails);
  if (seen === shown) return;
  shown = seen;
  byId("no-mail").hidden = mails.length > 0;
  byId("mails").replaceChildren(...mails.map(makeRow));
}

byId("insecure").hidden = globalThis.isSecureContext;
byId("begin").hidden = !globalThis.isSecureContext;
byId("guides").hidden = !document.querySelector("#guides li");
look();
setInterval(look, EVERY);
