// The audit: filtered, page by page, and as a file.

import * as api from "./api.js";
import { COLUMNS, eventRow } from "./events.js";
import { Filters, download, queryOf } from "./lists.js";
import { PagedTable } from "./paged.js";
import { announce, byId } from "./shared/dom.js";
import { sayEvent } from "./words.js";

const FIELDS = ["person", "actor", "subject", "request_id", "event", "outcome", "after", "before"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const filters = new Filters(Object.fromEntries(FIELDS.map((name) => [name, name.replace("_", "-")])),
  { times: ["after", "before"], fold: "fold-audit" });
let list = null;
let exporting = null;

// People by id or by address, as the API has them.
function asked() {
  const { actor, subject, ...given } = filters.read();
  for (const [name, whom] of Object.entries({ actor, subject })) {
    if (whom) given[UUID.test(whom) ? name : `${name}_email`] = whom;
  }
  return given;
}

// The address has them too, so that a search can be linked and gone back to.
function submit(event) {
  event?.preventDefault();
  const query = queryOf(filters.read());
  const target = query ? `#/audit?${query}` : "#/audit";
  if (location.hash === target) showAudit(new URLSearchParams(query));
  else location.hash = target;
}

export function showAudit(parameters) {
  byId("audit-error").textContent = "";
  filters.fill(parameters);
  return list.refresh();
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
    const response = await api.exportEvents(asked(), exporting.signal);
    await download(response, "application/x-ndjson", `audit-${new Date().toISOString().slice(0, 10)}.ndjson`, say);
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
    load: (cursor) => api.listEvents({ ...asked(), cursor }),
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
      byId("event").append(...names.map((name) => new Option(`${sayEvent(name)} (${name})`, name)));
      byId("event").value = chosen;
    })
    .catch(() => announce("The names of events could not be loaded: reload the page to choose one."));
}
