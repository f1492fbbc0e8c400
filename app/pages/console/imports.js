// Users of another system, from a file: checked first, then imported, with what was wrong row by row.

import * as api from "./api.js";
import { isAdmin } from "./actions.js";
import { badge, facts, make, moment } from "./element.js";
import { PagedTable } from "./paged.js";
import { announce, byId, sayBytes } from "./shared/dom.js";
import { ask } from "./shared/question.js";

const EVERY = 1500;
const TYPES = { csv: "text/csv", ndjson: "application/x-ndjson", jsonl: "application/x-ndjson", json: "application/json", sql: "application/sql" };
const KINDS = { completed: "good", interrupted: "bad", failed: "bad" };
const whole = new Intl.NumberFormat();
let problems = null;
// What runs or ran last: the same id with the same file goes on where an import was interrupted.
let current = null;

const count = (number, one, many) => `${whole.format(number)} ${number === 1 ? one : many}`;

const chosen = () => byId("import-file").files[0] ?? null;
const typeOf = (file) => TYPES[file.name.split(".").pop().toLowerCase()] ?? "application/octet-stream";

function say(text) {
  byId("import-state").hidden = !text;
  byId("import-words").textContent = text;
}

function show(report) {
  const rows = [
    ["State", badge(report.status, KINDS[report.status] ?? "accent")],
    ["Done", report.dry_run ? "Checked alone: nobody was added" : "Imported"],
    ["File", current.name],
    ["Rows", whole.format(report.rows)],
    [report.dry_run ? "Would be new" : "New", whole.format(report.created)],
    ["Known already", whole.format(report.existing)],
    ["Not taken", whole.format(report.refused)],
    ["Started", moment(report.started_at)],
    ["Ended", moment(report.finished_at)],
    ["Import id", make("span", { class: "mono" }, report.import_id)],
  ];
  facts(byId("import-facts"), rows);
  byId("import-report").hidden = byId("import-problems").hidden = false;
}

const isOfTheForm = (run) => run !== null && run.file === chosen() && run.source === byId("import-source").value;

const brokeOff = (run) => !run.running && !["completed", "failed"].includes(run.report?.status);

// A file that was checked whole may be imported; one whose import broke off may go on.
function offer() {
  const { created = 0, status } = current?.report ?? {};
  const [isChecked, goesOn] = isOfTheForm(current) && !current.running
    ? [current.dryRun && status === "completed" && created > 0, !current.dryRun && brokeOff(current)] : [false, false];
  byId("run-import").hidden = !isChecked && !goesOn;
  byId("run-import").textContent = goesOn ? "Go on with the import" : `Import ${count(created, "new user", "new users")}`;
}

function clearReport() {
  byId("import-report").hidden = byId("import-problems").hidden = byId("run-import").hidden = true;
  byId("import-facts").replaceChildren();
  problems.clear();
}

function lock(running) {
  for (const id of ["import-source", "import-file", "check-import"]) byId(id).disabled = running;
  byId("import-progress").hidden = byId("stop-import").hidden = !running;
}

async function watch(run) {
  while (run.running) {
    await new Promise((resolve) => { setTimeout(resolve, EVERY); });
    if (!run.running) return;
    const report = await api.getImport(run.id, { limit: 1 }).catch(() => null);
    if (report && run.running) say(`${run.dryRun ? "Checking" : "Importing"}… ${whole.format(report.rows)} rows so far.`);
  }
}

async function start(dryRun) {
  const [file, source] = [chosen(), byId("import-source").value];
  const goesOn = isOfTheForm(current) && current.dryRun === dryRun && brokeOff(current);
  const run = {
    id: goesOn ? current.id : crypto.randomUUID(), file, source, dryRun, name: `${file.name} (${sayBytes(file.size)})`,
    running: true, report: null, stopping: new AbortController(),
  };
  current = run;
  byId("import-error").textContent = "";
  clearReport();
  lock(true);
  say(`${dryRun ? "Checking" : "Importing"} ${run.name}…`);
  watch(run);
  try {
    const sent = { file, type: typeOf(file), signal: run.stopping.signal };
    run.report = await api.importUsers({ source, import_id: run.id, dry_run: String(dryRun) }, sent);
    announce(dryRun ? "The file is checked. Nobody was added." : "The import is complete.");
  } catch (problem) {
    if (run !== current) return;
    const broken = problem.name !== "AbortError" && !(problem instanceof api.Problem);
    byId("import-error").textContent = problem.name === "AbortError" ? "" : broken
      ? "The upload broke off. The same file goes on where it ended." : explain(problem);
    if (problem.name === "AbortError") announce("Stopped. What was imported stays; the same file goes on where it ended.");
  } finally {
    run.running = false;
    if (run === current) await finish(run);
  }
}

function explain(problem) {
  if (problem.code === "import_conflict") return "This import is still under way: try again in a minute. Where the file has changed since, choose it anew.";
  if (problem.code === "unsupported_media_type") return `${problem.message} Is it the file that the source's guide makes?`;
  return api.explain(problem);
}

async function finish(run) {
  lock(false);
  say("");
  run.report ??= await api.getImport(run.id, { limit: 1 }).catch(() => null);
  if (run !== current) return;
  if (run.report) {
    show(run.report);
    await problems.refresh();
  }
  offer();
}

function check(event) {
  event.preventDefault();
  byId("import-error").textContent = "";
  if (chosen()) return start(true);
  byId("import-error").textContent = "Choose the file first.";
  byId("import-file").focus();
}

async function importAll() {
  if (!current.dryRun) return start(false);
  const { created, existing, refused } = current.report;
  const text = [
    count(created, "account is made, with a prefix of its own.", "accounts are made, each with a prefix of its own."),
    count(existing, "row has one already, which stays as it is;", "rows have one already, which stays as it is;"),
    count(refused, "is not taken.", "are not taken."), "It cannot be undone at once.",
  ].join(" ");
  const agreed = await ask({ title: "Import these users?", text, submit: "Import" }, () => true);
  if (agreed) await start(false);
}

export function showImports() {
  offer();
}

export function clearImports() {
  current?.stopping.abort();
  current = null;
  byId("import-form").reset();
  byId("import-error").textContent = "";
  clearReport();
  lock(false);
  say("");
}

export function wireImports() {
  problems = new PagedTable(byId("import-problems"), {
    label: "Rows that were not taken as they are, in their order",
    columns: ["Row", "Why", "Code"],
    load: (cursor) => api.getImport(current.id, { limit: 50, cursor }),
    row: (one) => [whole.format(one.row), one.message, make("span", { class: "mono" }, one.code)],
    empty: "Nothing is wrong with any row.",
  });
  byId("import-form").addEventListener("submit", check);
  byId("run-import").addEventListener("click", importAll);
  byId("stop-import").addEventListener("click", () => current?.stopping.abort());
  for (const id of ["import-file", "import-source"]) byId(id).addEventListener("change", offer);
  addEventListener("beforeunload", (event) => { if (current?.running && isAdmin()) event.preventDefault(); });
}
