// Users of another system, from a file: checked first, then imported, with what was wrong row by row.

import * as api from "./api.js";
import { isAdmin } from "./actions.js";
import { COLUMNS } from "./columns.js";
import { badge, facts, make, moment, userLink } from "./element.js";
import { PagedTable } from "./paged.js";
import { announce, byId, code, sayBytes } from "./shared/dom.js";
import { ask } from "./shared/question.js";

const EVERY = 1500;
const LOOKS_LIKE = "looks_like_";
const TYPES = { csv: "text/csv", ndjson: "application/x-ndjson", jsonl: "application/x-ndjson", json: "application/json", sql: "application/sql" };
const PASSWORDS = {
  kept: "the password works as before", old_system: "the password comes at the first sign-in", invited: "a mail lets the user choose a password",
  none: "no password",
};
const KINDS = { completed: "good", interrupted: "bad", failed: "bad" };
const whole = new Intl.NumberFormat();
const tenths = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
let problems = null;
let preview = null;
let costs = null;
let past = null;
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
    ["Done", report.dry_run ? "Checked: nobody was added" : "Imported"],
    ["File", current.name],
    ["Rows", whole.format(report.rows)],
    [report.dry_run ? "Would be new" : "New", whole.format(report.created)],
    ["Of them invited", whole.format(report.invited)],
    ["Known already", whole.format(report.existing)],
    ["Not taken", whole.format(report.refused)],
    ["Started", moment(report.started_at)],
    ["Ended", moment(report.finished_at)],
    ["Import id", make("span", { class: "mono" }, report.import_id)],
  ];
  facts(byId("import-facts"), rows);
  byId("import-report").hidden = byId("import-problems").hidden = false;
  byId("import-preview").hidden = !report.preview.length;
  byId("import-costs").hidden = !report.hashes.length;
  return Promise.all([preview.refresh(), costs.refresh()]);
}

const previewRow = ({ row, user, problem }) => {
  const number = whole.format(row);
  if (!user) return [number, "–", "–", "–", "–", make("span", {}, badge("not taken", "bad"), ` ${problem}`)];
  return [
    number, user.email, user.display_name, user.email_verified ? "Yes" : "No", moment(user.created_at),
    make("span", {}, user.disabled ? badge("disabled", "bad") : badge("active", "good"), ` ${PASSWORDS[user.password]}`),
  ];
};

const costRow = (one) => [one.kind, whole.format(one.rows), tenths.format(one.price), tenths.format(one.dearest)];

function showColumns() {
  facts(byId("import-columns"), COLUMNS[byId("import-source").value].map(([name, becomes]) => [code(name), becomes]));
}

const isOfTheForm = (run) => Boolean(run?.file) && run.file === chosen() && run.source === byId("import-source").value
  && run.invites === byId("import-invite").checked;

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
  for (const id of ["report", "preview", "costs", "problems"]) byId(`import-${id}`).hidden = true;
  byId("run-import").hidden = true;
  byId("import-facts").replaceChildren();
  for (const table of [problems, preview, costs]) table.clear();
}

function lock(running) {
  for (const id of ["import-source", "import-file", "import-invite", "check-import"]) byId(id).disabled = running;
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
  const [file, source, invites] = [chosen(), byId("import-source").value, byId("import-invite").checked];
  const goesOn = isOfTheForm(current) && current.dryRun === dryRun && brokeOff(current);
  const run = {
    id: goesOn ? current.id : crypto.randomUUID(), file, source, invites, dryRun, name: `${file.name} (${sayBytes(file.size)})`,
    running: true, report: null, stopping: new AbortController(),
  };
  current = run;
  // So that a reload shows it again. The history gets no entry for it.
  history.replaceState(null, "", `#/imports/${run.id}`);
  byId("import-error").textContent = "";
  clearReport();
  lock(true);
  say(`${dryRun ? "Checking" : "Importing"} ${run.name}…`);
  watch(run);
  try {
    const sent = { file, type: typeOf(file), signal: run.stopping.signal };
    const order = { source, import_id: run.id, dry_run: String(dryRun), invite_unsupported: String(invites) };
    run.report = await api.importUsers(order, sent);
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
  const missing = problem.errors?.find((error) => error.code === "not_configured");
  if (missing?.location.endsWith("invite_unsupported")) {
    return "Invitations are mails, and this service has no mail server. Ask the people who run it to set one, or import without invitations.";
  }
  if (missing) {
    return "Passwords from Firebase need the password hash parameters of your Firebase project. Ask the people who run this service to set them once, as the guide on moving users says. Then choose the file again.";
  }
  const other = problem.errors?.find((error) => error.code.startsWith(LOOKS_LIKE))?.code.slice(LOOKS_LIKE.length);
  const option = [...byId("import-source").options].find(({ value }) => value === other);
  if (option) return `This looks like a file of another source. Choose “${option.text}”, and check it again.`;
  if (problem.code === "import_conflict") return "This import is still under way: try again in a minute. Where the file has changed since, choose it anew.";
  if (problem.code === "unsupported_media_type") return "The chosen source does not write files of this kind. The guide on moving users says which file it is.";
  return api.explain(problem);
}

async function finish(run) {
  lock(false);
  say("");
  run.report ??= await api.getImport(run.id, { limit: 1 }).catch(() => null);
  if (run !== current) return;
  if (run.report) {
    await Promise.all([show(run.report), problems.refresh()]);
  }
  offer();
  await past.refresh();
}

// An import of before: what became of it, and what was wrong with its rows.
async function open(id) {
  if (current?.running || current?.id === id) return;
  clearReport();
  current = { id, file: null, name: null, running: false, report: null, stopping: new AbortController() };
  try {
    current.report = await api.getImport(id, { limit: 1 });
  } catch (problem) {
    byId("import-error").textContent = problem.status === 404 || problem.status === 422 ? "There is no such import." : api.explain(problem);
    return;
  }
  if (current.id !== id) return;
  await Promise.all([show(current.report), problems.refresh()]);
}

const pastRow = (one) => [
  make("a", { href: `#/imports/${one.import_id}` }, moment(one.started_at)),
  one.source, badge(one.dry_run && one.status === "completed" ? "checked" : one.status, KINDS[one.status] ?? "accent"),
  whole.format(one.rows), whole.format(one.created), whole.format(one.existing), whole.format(one.refused),
  one.started_by ? userLink(one.started_by) : "Command line",
];

function check(event) {
  event.preventDefault();
  byId("import-error").textContent = "";
  if (chosen()) return start(true);
  byId("import-error").textContent = "Choose the file first.";
  byId("import-file").focus();
}

async function importAll() {
  if (!current.dryRun) return start(false);
  const { created, existing, refused, invited } = current.report;
  const text = [
    count(created, "account is made, with a prefix of its own.", "accounts are made, each with a prefix of its own."),
    count(existing, "row has one already, which stays as it is;", "rows have one already, which stays as it is;"),
    count(refused, "is not taken.", "are not taken."),
    invited ? count(invited, "user gets a mail with a link to choose a password.", "users get a mail with a link to choose a password.") : "",
    "It cannot be undone at once.",
  ].filter(Boolean).join(" ");
  const agreed = await ask({ title: "Import these users?", text, submit: "Import" }, () => true);
  if (agreed) await start(false);
}

export async function showImports(id) {
  offer();
  await Promise.all([past.refresh(), id ? open(id) : null]);
}

export function clearImports() {
  current?.stopping.abort();
  current = null;
  byId("import-form").reset();
  showColumns();
  byId("import-error").textContent = "";
  clearReport();
  past.clear();
  lock(false);
  say("");
}

export function wireImports() {
  past = new PagedTable(byId("past-imports"), {
    label: "Imports, the newest first",
    columns: ["Started", "Source", "State", "Rows", "New", "Known", "Not taken", "By"],
    load: (cursor) => api.listImports({ limit: 20, cursor }),
    row: pastRow,
    empty: "Nobody has imported users yet.",
  });
  problems = new PagedTable(byId("problem-rows"), {
    label: "Rows that were not taken as they are, in their order",
    columns: ["Row", "Why", "Code"],
    load: (cursor) => api.getImport(current.id, { limit: 50, cursor }),
    row: (one) => [whole.format(one.row), one.message, make("span", { class: "mono" }, one.code)],
    empty: "Nothing is wrong with any row.",
  });
  preview = new PagedTable(byId("import-rows"), {
    label: "The first rows as they will be",
    columns: ["Row", "Address", "Name", "Verified", "Made", "Account and password"],
    load: () => ({ items: current.report.preview, next_cursor: null }),
    row: previewRow,
    empty: "",
  });
  costs = new PagedTable(byId("import-hashes"), {
    label: "What sign-ins will cost, by the kind of hash",
    columns: ["Hash", "Rows", "A sign-in ÷ ours", "The dearest"],
    load: () => ({ items: current.report.hashes, next_cursor: null }),
    row: costRow,
    empty: "",
  });
  showColumns();
  byId("import-source").addEventListener("change", showColumns);
  byId("import-form").addEventListener("submit", check);
  byId("run-import").addEventListener("click", importAll);
  byId("stop-import").addEventListener("click", () => current?.stopping.abort());
  for (const id of ["import-file", "import-source", "import-invite"]) byId(id).addEventListener("change", offer);
  addEventListener("beforeunload", (event) => { if (current?.running && isAdmin()) event.preventDefault(); });
}
