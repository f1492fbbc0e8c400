// A table that grows by pages, and says when it is empty, loading or could not be read.

import { sortHeading } from "./lists.js";
import { make } from "./element.js";
import { explain } from "./shared/api.js";

// `columns`: headings, each a text, or `{ label, sort }` for one that sorts. `load(cursor)`: a page of the API. `row(item)`:
// as many cells as columns, each a node or a text. `order`: `{ chosen(), choose(sort) }` where headings sort.
// `selection`: a `Selection` of which each row gets a box.
export class PagedTable {
  #latest = 0;
  #cursor = null;
  #headings = [];

  constructor(place, { label, columns, load, row, empty, order = null, selection = null }) {
    Object.assign(this, { load, row, empty, order, selection });
    this.columns = columns.map((column) => column.label ?? column);
    // The roles are spelt out: on a phone the style makes cards of the rows, and with `display` their meaning would go.
    this.body = make("tbody", { role: "rowgroup" });
    this.table = make("table", { role: "table" },
      make("caption", { class: "unseen" }, label),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" },
        selection && make("th", { scope: "col", role: "columnheader", class: "box" }, make("label", {}, selection.all, make("span", { class: "narrow" }, "Choose all"))),
        ...columns.map((column) => this.#makeHeading(column)))),
      this.body);
    this.count = make("p", { class: "unseen", role: "status" });
    this.note = make("p", { class: "empty", role: "status" });
    this.more = make("button", { type: "button", class: "more", onclick: () => this.#extend(false) }, "Show more");
    place.replaceChildren(make("div", { class: "table" }, this.table), this.count, this.note, this.more);
    this.clear();
  }

  clear() {
    this.#latest += 1;
    this.body.replaceChildren();
    this.selection?.clear();
    this.note.textContent = this.count.textContent = "";
    this.more.hidden = true;
    for (const heading of this.#headings) heading.show();
  }

  // Begins anew; an answer that comes after a later call is dropped.
  refresh() {
    this.#cursor = null;
    return this.#extend(true);
  }

  async #extend(anew) {
    const mine = ++this.#latest;
    this.table.setAttribute("aria-busy", "true");
    this.more.disabled = true;
    for (const heading of this.#headings) heading.show();
    try {
      const page = await this.load(this.#cursor);
      if (mine !== this.#latest) return;
      if (anew) this.selection?.clear();
      const rows = page.items.map((item) => this.#makeRow(item));
      if (anew) this.body.replaceChildren(...rows);
      else {
        this.body.append(...rows);
        rows[0]?.querySelector("a, button, input")?.focus();
      }
      this.#cursor = page.next_cursor;
      this.more.hidden = !page.next_cursor;
      this.more.textContent = "Show more";
      const shown = this.body.children.length;
      this.note.textContent = shown ? "" : this.empty;
      this.count.textContent = shown ? `${shown} shown${page.next_cursor ? ", and there are more" : ""}` : "";
    } catch (problem) {
      if (mine !== this.#latest) return;
      if (anew) this.body.replaceChildren();
      this.note.textContent = explain(problem);
      this.more.hidden = false;
      this.more.textContent = "Try again";
    } finally {
      if (mine === this.#latest) {
        this.more.disabled = false;
        this.table.setAttribute("aria-busy", "false");
        this.table.hidden = !this.body.children.length;
      }
    }
  }

  #makeHeading(column) {
    if (!column.sort) return make("th", { scope: "col", role: "columnheader" }, column.label ?? column);
    const heading = sortHeading(column.sort, column.label, this.order.chosen, this.order.choose);
    this.#headings.push(heading);
    return make("th", { scope: "col", role: "columnheader" }, heading.button);
  }

  #makeRow(item) {
    const cells = this.row(item).map((cell, place) => make("td", { role: "cell", "data-label": this.columns[place] }, cell ?? "–"));
    const box = this.selection && make("td", { role: "cell", class: "box" }, this.selection.box(item));
    return make("tr", { role: "row" }, box, ...cells);
  }
}

// The rows that are chosen, by id, up to `most`. `nameOf(item)`: what a screen reader calls a row.
export class Selection {
  #items = new Map();
  #boxes = new Map();

  constructor({ nameOf, most, onChange }) {
    Object.assign(this, { nameOf, most, onChange });
    this.all = make("input", { type: "checkbox", "aria-label": `Choose all that are shown, up to ${most}`, onchange: () => this.#chooseAll() });
  }

  get ids() { return [...this.#items.keys()]; }

  get size() { return this.#items.size; }

  nameOfId(id) { return this.nameOf(this.#items.get(id)); }

  clear() {
    this.#items.clear();
    this.#boxes.clear();
    this.#show();
  }

  box(item) {
    const box = make("input", { type: "checkbox", "aria-label": `Choose ${this.nameOf(item)}`, onchange: () => this.#choose(item, box.checked) });
    this.#boxes.set(item.id, { item, box });
    return box;
  }

  #choose(item, chosen) {
    if (chosen && this.size < this.most) this.#items.set(item.id, item);
    else this.#items.delete(item.id);
    this.#show();
  }

  #chooseAll() {
    if (this.all.checked) for (const { item } of this.#boxes.values()) { if (this.size < this.most) this.#items.set(item.id, item); }
    else this.#items.clear();
    this.#show();
  }

  #show() {
    for (const [id, { box }] of this.#boxes) box.checked = this.#items.has(id);
    this.all.checked = this.size > 0 && (this.size === this.#boxes.size || this.size === this.most);
    this.all.indeterminate = this.size > 0 && !this.all.checked;
    this.onChange();
  }
}
