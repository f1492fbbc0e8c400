// The audit: filtered, page by page, and as a file.

import * as api from "./api.js";
import { make } from "./element.js";
import { COLUMNS, eventRow } from "./events.js";
import { PagedTable } from "./paged.js";
import { announce, byId } from "./shared/dom.js";

const FIELDS = ["actor", "subject", "event", "outcome", "after", "before"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
let list = null;
let exporting = null;

// The fields hold the reader's own time, the API takes UTC.
const toUtc = (local) => (local ? new Date(local).toISOString().replace(/\.\d+Z$/, "Z") : "");

function toLocal(iso) {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return "";
  return new Date(time - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function filters() {
  const given = Object.fromEntries(FIELDS.map((name) => [name, byId(name).value.trim()]));
  return { ...given, after: toUtc(given.after), before: toUtc(given.before) };
}

// The address has them too, so that a search can be linked and gone back to.
function submit(event) {
  event?.preventDefault();
  const given = filters();
  for (const name of ["actor", "subject"]) {
    if (given[name] && !UUID.test(given[name])) {
      byId("audit-error").textContent = "A user id looks like 3f2b8c1e-…, in full: copy it from the user’s page.";
      return byId(name).focus();
    }
  }
  const query = new URLSearchParams(Object.entries(given).filter(([, value]) => value)).toString();
  const target = query ? `#/audit?${query}` : "#/audit";
  if (location.hash === target) showAudit(new URLSearchParams(query));
  else location.hash = target;
}

export function showAudit(parameters) {
  byId("audit-error").textContent = "";
  for (const name of FIELDS) {
    const value = parameters.get(name) ?? "";
    byId(name).value = name === "after" || name === "before" ? toLocal(value) : value;
  }
  return list.refresh();
}

async function* pieces(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function say(text) {
  byId("export-state").hidden = !text;
  byId("export-state").firstElementChild.textContent = text;
}

// The token goes in a header, so the browser cannot fetch the file by a link.
async function exportAll() {
  exporting = new AbortController();
  byId("export").disabled = true;
  byId("audit-error").textContent = "";
  say("Downloading…");
  try {
    const response = await api.exportEvents(filters(), exporting.signal);
    const kept = [];
    let size = 0;
    for await (const piece of pieces(response.body)) {
      kept.push(piece);
      size += piece.length;
      say(`Downloading… ${(size / 1e6).toFixed(1)} MB`);
    }
    save(new Blob(kept, { type: "application/x-ndjson" }), `audit-${new Date().toISOString().slice(0, 10)}.ndjson`);
    announce("The file is complete.");
  } catch (problem) {
    const stopped = problem.name === "AbortError";
    const broken = !stopped && !(problem instanceof api.Problem);
    byId("audit-error").textContent = stopped ? "" : broken
      ? "The download broke off before its end, and nothing was saved. Try again, or ask for a shorter time."
      : api.explain(problem);
    if (stopped) announce("The download is stopped. Nothing was saved.");
  } finally {
    byId("export").disabled = false;
    exporting = null;
    say("");
  }
}

export function clearAudit() {
  exporting?.abort();
  byId("audit-form").reset();
  byId("audit-error").textContent = "";
  list.clear();
}

export function wireAudit() {
  list = new PagedTable(byId("audit-list"), {
    label: "Audit events, the newest first",
    columns: COLUMNS,
    load: (cursor) => api.listEvents({ ...filters(), cursor }),
    row: eventRow,
    empty: "No event fits.",
  });
  byId("audit-form").addEventListener("submit", submit);
  byId("clear-filters").addEventListener("click", () => { byId("audit-form").reset(); submit(); });
  byId("export").addEventListener("click", exportAll);
  byId("stop-export").addEventListener("click", () => exporting?.abort());
  fetch(new URL("events.json", import.meta.url), { credentials: "omit" })
    .then((response) => response.json())
    .then((names) => {
      const chosen = new URLSearchParams(location.hash.split("?")[1]).get("event") ?? "";
      byId("event").append(...names.map((name) => new Option(name)));
      byId("event").value = chosen;
    })
    .catch(() => announce("The names of events could not be loaded: reload the page to choose one."));
}
