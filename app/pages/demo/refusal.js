// The proof: with the same credential one's own folder opens and somebody else's does not. The engine decides,
// not this page.

import { facts } from "./credential.js";
import { byId, code, part, stamp } from "./shared/dom.js";
import { listPage, request } from "./pictures/s3.js";
import { forgetReasons } from "./why.js";

const SHORT_ID = 8;

// What the person pasted – a key, a folder or a bare user id – as a key and the folder around it.
function aim(pasted) {
  const target = pasted.trim().replace(/^\/+/, "") || crypto.randomUUID();
  const path = target.includes("/") ? target : `users/${target}/`;
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  return { folder, key: path === folder ? `${folder}holiday.jpg` : path };
}

const shorten = (path) => path.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, (id) => `${id.slice(0, SHORT_ID)}…`);

// The service writes what is code between backticks.
const typeset = (text) => text.split("`").map((piece, place) => (place % 2 ? code(piece) : piece));

async function attempt(words, path, act) {
  const row = stamp("refusal-row");
  part(row, "words").textContent = words;
  part(row, "path").textContent = shorten(path);
  part(row, "path").title = path;
  part(row, "verdict").textContent = "…";
  byId("refusals").append(row);
  try {
    await act();
    row.dataset.outcome = "opened";
    part(row, "verdict").textContent = "200 OK";
  } catch (error) {
    row.dataset.outcome = error.status === 403 ? "refused" : "unclear";
    part(row, "verdict").textContent = `${error.status || "–"} ${error.code || error.message}`;
    if (error.why) part(row, "why").replaceChildren(error.why.text, " ", ...typeset(error.why.detail), " ", code(error.why.reason));
    else part(row, "why").textContent = error.message;
  }
  return row.dataset.outcome;
}

function conclude(outcomes, isOwn) {
  if (isOwn) return "That is your own folder, so it opens. Paste the address of somebody else’s picture.";
  if (outcomes.every((outcome) => outcome === "refused")) {
    return "Refused by the storage engine itself. This page signed correctly. The credential it holds does not reach there.";
  }
  return "That is not the refusal one would expect. Look at the answers above.";
}

async function tryForeign(event) {
  event.preventDefault();
  const { prefix, access } = facts();
  const { folder, key } = aim(byId("foreign").value);
  byId("refusals").replaceChildren();
  byId("verdict").textContent = "";
  byId("try-foreign").disabled = true;
  try {
    if (access !== "write") await attempt("List yours", prefix, () => listPage(prefix, { limit: 1 }));
    const outcomes = [
      await attempt("Open theirs", key, () => request("GET", key, { as: "blob" })),
      await attempt("List theirs", folder, () => listPage(folder, { limit: 1 })),
    ];
    byId("verdict").textContent = conclude(outcomes, key.startsWith(prefix));
    byId("verdict").scrollIntoView({ block: "end", behavior: "smooth" });
  } finally {
    byId("try-foreign").disabled = false;
  }
}

export function clearRefusals() {
  forgetReasons();
  byId("refusals").replaceChildren();
  byId("verdict").textContent = "";
  byId("foreign").value = "";
}

export const wireRefusals = () => byId("foreign-form").addEventListener("submit", tryForeign);
