// What the page holds, said plainly: what the credential may do, until when, and whether the two clocks agree.

import * as credential from "./credential.js";
import { explain } from "./shared/api.js";
import { announce, byId, part } from "./shared/dom.js";

const RIGHTS = { read: ["look"], write: ["add"], read_write: ["look", "add", "remove"], read_delete: ["look", "remove"] };
const CLOCK_TOLERANCE = 5000;
const RETRY_AFTER = 30_000;
let ticking = 0;
let notBefore = 0;

function sayDuration(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const pad = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

function sayClock(skew) {
  const off = Math.abs(skew);
  if (off < CLOCK_TOLERANCE) return "agrees with the service";
  const amount = off < 120_000 ? `${Math.round(off / 1000)} seconds` : `${Math.round(off / 60_000)} minutes`;
  return `${amount} ${skew > 0 ? "behind" : "ahead of"} the service; requests are signed with the service’s time`;
}

function show() {
  const known = credential.facts();
  if (!known) return;
  const panel = byId("panel");
  part(panel, "bucket").textContent = known.bucket;
  part(panel, "prefix").textContent = known.prefix;
  part(panel, "key-id").textContent = known.keyId;
  part(panel, "engine").textContent = known.endpoint ?? `AWS, ${known.region}`;
  part(panel, "clock").textContent = sayClock(known.skew);
  byId("access").value = known.access;
  byId("full").hidden = !known.full;
  for (const right of panel.querySelectorAll("[data-right]")) {
    right.dataset.granted = RIGHTS[known.access].includes(right.dataset.right);
  }
  countDown(known);
}

function countDown({ remaining, lifetime }) {
  const left = remaining ? sayDuration(remaining) : "expired";
  byId("countdown").textContent = left;
  byId("countdown-short").textContent = left;
  byId("remaining").value = remaining / lifetime;
}

async function tick() {
  const known = credential.facts();
  if (!known) return;
  countDown(known);
  if (!known.due || Date.now() < notBefore) return;
  notBefore = Date.now() + RETRY_AFTER;
  await credential.fresh().catch((problem) => announce(`The credential could not be renewed: ${explain(problem)}`));
}

export function startPanel() {
  notBefore = 0;
  show();
  clearInterval(ticking);
  ticking = setInterval(tick, 1000);
}

export function stopPanel() {
  clearInterval(ticking);
  for (const cell of byId("panel").querySelectorAll("dd[data-part]")) cell.textContent = "";
  byId("full").hidden = true;
  byId("countdown").textContent = "";
  byId("countdown-short").textContent = "";
}

export function wirePanel() {
  credential.changes.addEventListener("renewed", show);
  byId("access").addEventListener("change", async ({ target }) => {
    try {
      await credential.choose(target.value);
      const full = credential.facts().full ? "Your storage is full. " : "";
      announce(`${full}The new credential may ${target.selectedOptions[0].textContent.toLowerCase()}.`);
    } catch (problem) {
      announce(explain(problem));
      show();
    }
  });
}
