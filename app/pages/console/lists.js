// What all lists have in common: filters that the address keeps, totals in words, and headings that sort.

import { make } from "./element.js";
import { byId } from "./shared/dom.js";

const whole = new Intl.NumberFormat();

// The fields hold the reader's own time, the API takes UTC.
export const toUtc = (local) => (local ? new Date(local).toISOString().replace(/\.\d+Z$/, "Z") : "");

export function toLocal(iso) {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return "";
  return new Date(time - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

// Filters by name, each in the field of an id. `times` are those of fields that hold a local time. `fold`: the id of the
// button that shows, on a phone, all after the first one.
export class Filters {
  constructor(fields, { times, fold }) {
    Object.assign(this, { fields, times, fold: byId(fold) });
    this.fold.addEventListener("click", () => {
      this.fold.setAttribute("aria-expanded", this.fold.getAttribute("aria-expanded") === "false");
    });
  }

  // Whatever changes a filter reads all of them, so this is where the button learns how many are in use.
  read() {
    const given = Object.entries(this.fields).map(([name, id]) => [name, byId(id).value.trim()]);
    const used = given.slice(1).filter(([, value]) => value).length;
    this.fold.textContent = used ? `Filters (${used})` : "Filters";
    return Object.fromEntries(given.map(([name, value]) => [name, this.times.includes(name) ? toUtc(value) : value]));
  }

  // Shows those of an address.
  fill(parameters) {
    for (const [name, id] of Object.entries(this.fields)) {
      const value = parameters.get(name) ?? "";
      byId(id).value = this.times.includes(name) ? toLocal(value) : value;
    }
  }
}

export const queryOf = (given) => new URLSearchParams(Object.entries(given).filter(([, value]) => value)).toString();

// A count as the API has it: exact, estimated, or a bound.
export function sayCount({ total, kind }, one, many) {
  const words = { exact: "", estimate: "about ", at_least: "more than " }[kind];
  const text = `${words}${whole.format(total)} ${total === 1 ? one : many}`;
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// A heading of a table that sorts by it: down at first, and the other way when it is chosen again.
export function sortHeading(name, label, chosen, onChoose) {
  const button = make("button", { type: "button", class: "sort", "data-sort": name, onclick: () => onChoose(name) }, label);
  return { button, show: () => {
    const { sort, direction } = chosen();
    const heading = button.closest("th");
    if (sort === name) heading.setAttribute("aria-sort", direction === "asc" ? "ascending" : "descending");
    else heading.removeAttribute("aria-sort");
  } };
}

// Reads a file that comes in pieces, and gives it to the browser to keep.
export async function download(response, type, name, onProgress) {
  const reader = response.body.getReader();
  const kept = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    kept.push(value);
    size += value.length;
    onProgress(`Downloading… ${(size / 1e6).toFixed(1)} MB`);
  }
  const link = make("a", { href: URL.createObjectURL(new Blob(kept, { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
