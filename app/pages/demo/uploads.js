// The queue of uploads as a person sees it: a row for each file, two files at a time, each of which can be stopped.

import { announce, byId, code, part, sayBytes, stamp } from "./shared/dom.js";
import { upload } from "./upload.js";

const FILES_AT_ONCE = 2;
const SHOWN_WHEN_DONE = 2500;
const waiting = [];
const rows = new Set();
let running = 0;
let uploaded = () => {};

export const onUploaded = (listener) => { uploaded = listener; };

export const isBusy = () => running > 0 || waiting.length > 0;

function drop(row) {
  rows.delete(row);
  row.node.remove();
  byId("uploads").hidden = rows.size === 0;
}

function show(row, state, ...words) {
  row.node.dataset.state = state;
  part(row.node, "state").replaceChildren(...words);
  part(row.node, "retry").hidden = state !== "failed";
  part(row.node, "stop").setAttribute("aria-label", `${state === "failed" ? "Dismiss" : "Cancel"} ${row.file.name}`);
}

function track(row, sent) {
  const share = row.file.size ? Math.min(sent / row.file.size, 1) : 1;
  const bar = part(row.node, "bar");
  bar.value = share;
  bar.textContent = `${Math.round(share * 100)} %`;
  if (share < 1) show(row, "sending", `${sayBytes(sent)} of ${sayBytes(row.file.size)} · ${Math.round(share * 100)} %`);
  else show(row, "sending", "Finishing …");
}

async function run(row) {
  const { signal } = row.stopping;
  track(row, 0);
  try {
    const photo = await upload(row.file, { signal, progress: (sent) => track(row, sent) });
    if (signal.aborted) return;
    show(row, "done", "Safe in your folder");
    uploaded(photo);
    announce(`${row.file.name} is uploaded.`);
    setTimeout(drop, SHOWN_WHEN_DONE, row);
  } catch (error) {
    if (signal.aborted) return;
    show(row, "failed", error.message, ...(error.code ? [" ", code(error.code)] : []));
    announce(`${row.file.name} could not be uploaded.`);
  }
}

function work() {
  while (running < FILES_AT_ONCE && waiting.length > 0) {
    const row = waiting.shift();
    if (row.stopping.signal.aborted) continue;
    running += 1;
    run(row).finally(() => { running -= 1; work(); });
  }
}

function start(row) {
  row.stopping = new AbortController();
  show(row, "waiting", "Waiting …");
  waiting.push(row);
  work();
}

function stop(row) {
  row.stopping.abort();
  drop(row);
}

function enqueue(file) {
  const row = { file, node: stamp("upload-row"), stopping: null };
  part(row.node, "name").textContent = file.name;
  part(row.node, "bar").setAttribute("aria-label", file.name);
  part(row.node, "stop").addEventListener("click", () => stop(row));
  part(row.node, "retry").addEventListener("click", () => start(row));
  rows.add(row);
  byId("uploads").hidden = false;
  byId("uploads").append(row.node);
  start(row);
}

export function enqueueAll(files) {
  const pictures = [...files].filter(({ type }) => !type || type.startsWith("image/"));
  pictures.forEach(enqueue);
  const others = files.length - pictures.length;
  if (others) announce(`${others} ${others === 1 ? "file is" : "files are"} not a picture and stayed here.`);
}

export function stopAll() {
  [...rows].forEach(stop);
  waiting.length = 0;
}

export function wireUploads() {
  const chooser = byId("files");
  const curtain = byId("drop-curtain");
  const accepts = (event) => !byId("album").hidden && event.dataTransfer?.types.includes("Files");
  byId("add").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    enqueueAll(chooser.files);
    chooser.value = "";
  });
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
