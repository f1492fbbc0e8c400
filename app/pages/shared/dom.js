// Small words for the document: find, clone, announce, and say a size.

const UNITS = ["bytes", "kB", "MB", "GB"];
const SHOWN_FOR = 5000;
let hiding = 0;

export const byId = (id) => document.getElementById(id);

export const part = (root, name) => root.querySelector(`[data-part="${name}"]`);

export const stamp = (templateId) => byId(templateId).content.firstElementChild.cloneNode(true);

export const code = (text) => Object.assign(document.createElement("code"), { textContent: text });

export function announce(text) {
  const status = byId("status");
  clearTimeout(hiding);
  // While a dialog is open everything outside it is inert, to the eye and to a screen reader.
  ([...document.querySelectorAll("dialog[open]")].pop() ?? document.body).append(status);
  status.textContent = text;
  hiding = setTimeout(() => { status.textContent = ""; }, SHOWN_FOR);
}

export function hush() {
  clearTimeout(hiding);
  byId("status").textContent = "";
}

export function sayBytes(bytes) {
  const step = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  const digits = step < 2 ? 0 : 1;
  return `${(bytes / 1000 ** step).toFixed(digits)} ${UNITS[step]}`;
}

export const sayTime = (time) =>
  new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(time);
