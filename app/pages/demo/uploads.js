// The queue of uploads as a person sees it: a row for each file that is under way, waits or failed, in a list of bounded
// height, and one line for all of them. Two files go at a time; each can be stopped. What the line has broken off goes on
// by itself when the line is back.

import { target } from "./albums.js";
import { announce, byId, code, part, sayBytes, stamp } from "./shared/dom.js";
import { begun, isBroken, upload, withdraw } from "./upload.js";

const FILES_AT_ONCE = 2;
const SHOWN_WHEN_DONE = 2500;
const LOOK_FOR_LINE = 15_000; // some lines come back without the browser's saying so
const waiting = [];
const rows = new Set();
let running = 0;
let tally = nothing();
let looking = 0;
let uploaded = () => {};
let contributed = () => {};

// Of all files since the queue was last empty.
function nothing() {
  return { files: 0, bytes: 0, done: 0, failed: 0, sent: new Map(), strangers: 0 };
}

export const onUploaded = (listener) => { uploaded = listener; };

export const onContributed = (listener) => { contributed = listener; };

export const isBusy = () => running > 0 || waiting.length > 0;

const files = (count) => `${count} ${count === 1 ? "picture" : "pictures"}`;

const failures = () => [...rows].filter(({ node }) => node.dataset.state === "failed");

function sum() {
  const sent = [...tally.sent.values()].reduce((total, bytes) => total + bytes, 0);
  const failed = failures().length;
  const left = tally.files - tally.done - failed;
  const words = [left ? `${tally.done} of ${files(tally.files)} · ${sayBytes(sent)} of ${sayBytes(tally.bytes)}` : ""];
  if (failed) words.push(`${files(failed)} could not be uploaded.`);
  if (tally.strangers) words.push(`${tally.strangers} ${tally.strangers === 1 ? "file is no picture and stays" : "files are no pictures and stay"} on this device.`);
  const summary = byId("upload-summary");
  part(summary, "words").textContent = words.filter(Boolean).join(" · ");
  part(summary, "bar").hidden = !left;
  part(summary, "bar").value = tally.bytes ? sent / tally.bytes : 0;
  part(summary, "retry-all").hidden = failed < 2;
  part(summary, "stop-all").hidden = left < 2;
  part(summary, "dismiss").hidden = left > 0 || !words.some(Boolean);
  summary.hidden = !words.some(Boolean) || (tally.files < 2 && !tally.strangers);
  byId("uploads").hidden = rows.size === 0;
}

// One word at the end, however many there were.
function conclude() {
  if (isBusy()) return;
  const failed = failures().length;
  if (tally.files && tally.done + failed >= tally.files) {
    const done = tally.done ? `${files(tally.done)} ${tally.done === 1 ? "is" : "are"} uploaded.` : "";
    announce(`${done}${failed ? ` ${files(failed)} could not be uploaded.` : ""}`.trim());
  }
  if (!failed) tally = { ...nothing(), strangers: tally.strangers };
}

function drop(row) {
  rows.delete(row);
  row.node.remove();
  sum();
}

function show(row, state, ...words) {
  row.node.dataset.state = state;
  part(row.node, "state").replaceChildren(...words);
  part(row.node, "retry").hidden = state !== "failed";
  part(row.node, "stop").hidden = state === "done";
  part(row.node, "stop").setAttribute("aria-label", `${state === "failed" ? "Dismiss" : "Cancel"} ${row.file.name}`);
}

function track(row, sent) {
  const share = row.file.size ? Math.min(sent / row.file.size, 1) : 1;
  const bar = part(row.node, "bar");
  bar.value = share;
  bar.textContent = `${Math.round(share * 100)} %`;
  tally.sent.set(row, sent);
  if (share < 1) show(row, "sending", `${sayBytes(sent)} of ${sayBytes(row.file.size)} · ${Math.round(share * 100)} %`);
  else show(row, "sending", "Finishing …");
  sum();
}

function fail(row, error) {
  tally.sent.delete(row);
  row.isBroken = isBroken(error);
  const hope = row.isBroken ? [" It goes on by itself when the line is back."] : [];
  show(row, "failed", error.message, ...hope, ...(error.code ? [" ", code(error.code)] : []));
  if (row.isBroken && !looking) looking = setInterval(resume, LOOK_FOR_LINE);
}

async function run(row) {
  const { signal } = row.stopping;
  byId("uploads").prepend(row.node);
  track(row, 0);
  try {
    const photo = await upload(row.file, row.sending, {
      signal,
      progress: (sent) => { if (!signal.aborted) track(row, sent); },
      stored: () => { part(row.node, "stop").hidden = true; }, // too late to cancel: its rendition is being made
    });
    if (signal.aborted) return;
    tally.done += 1;
    show(row, "done", row.sending.place ? "In the shared album" : "Safe in your folder");
    (row.sending.place ? contributed : uploaded)(photo);
    setTimeout(drop, SHOWN_WHEN_DONE, row);
  } catch (error) {
    if (!signal.aborted) fail(row, error);
  }
}

function work() {
  while (running < FILES_AT_ONCE && waiting.length > 0) {
    const row = waiting.shift();
    if (row.stopping.signal.aborted) continue;
    running += 1;
    run(row).finally(() => { running -= 1; work(); conclude(); sum(); });
  }
}

function start(row) {
  row.stopping = new AbortController();
  show(row, "waiting", "Waiting …");
  waiting.push(row);
  work();
}

// Those that the line has broken off.
function resume() {
  const broken = [...rows].filter((row) => row.node.dataset.state === "failed" && row.isBroken);
  if (!broken.length) {
    clearInterval(looking);
    looking = 0;
  } else if (navigator.onLine && !isBusy()) {
    broken.forEach(start);
  }
}

function stop(row) {
  const wasFailed = row.node.dataset.state === "failed";
  row.stopping.abort();
  if (wasFailed) withdraw(row.sending);
  tally.sent.delete(row);
  if (row.node.dataset.state !== "done") {
    tally.files -= 1;
    tally.bytes -= row.file.size;
  }
  drop(row);
  if (!rows.size && !isBusy()) tally = nothing();
}

function enqueue(file, album, place) {
  const row = { file, node: stamp("upload-row"), sending: begun(album, place), stopping: null, isBroken: false };
  part(row.node, "name").textContent = file.name;
  part(row.node, "bar").setAttribute("aria-label", file.name);
  part(row.node, "stop").addEventListener("click", () => stop(row));
  part(row.node, "retry").addEventListener("click", () => start(row));
  rows.add(row);
  tally.files += 1;
  tally.bytes += file.size;
  byId("uploads").append(row.node);
  start(row);
}

export function enqueueAll(chosen, place = null) {
  const pictures = [...chosen].filter(({ type }) => !type || type.startsWith("image/"));
  tally.strangers = chosen.length - pictures.length;
  pictures.forEach((file) => enqueue(file, target(), place));
  sum();
}

export function stopAll() {
  [...rows].forEach(stop);
  waiting.length = 0;
  tally = nothing();
  sum();
}

export function wireUploads() {
  const chooser = byId("files");
  const curtain = byId("drop-curtain");
  const summary = byId("upload-summary");
  const accepts = (event) => !byId("album").hidden && event.dataTransfer?.types.includes("Files");
  part(summary, "retry-all").addEventListener("click", () => failures().forEach(start));
  part(summary, "stop-all").addEventListener("click", () => {
    [...rows].filter(({ node }) => !part(node, "stop").hidden && node.dataset.state !== "failed").forEach(stop);
  });
  part(summary, "dismiss").addEventListener("click", stopAll);
  byId("add").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    enqueueAll(chooser.files);
    chooser.value = "";
  });
  addEventListener("online", resume);
  document.addEventListener("dragover", (event) => {
    if (!accepts(event)) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) curtain.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    if (!accepts(event)) return;
    event.preventDefault();
    curtain.hidden = true;
    enqueueAll(event.dataTransfer.files);
  });
  addEventListener("beforeunload", (event) => { if (isBusy()) event.preventDefault(); });
}
