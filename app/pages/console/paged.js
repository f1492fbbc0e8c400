// A table that grows by pages, and says when it is empty, loading or could not be read.

import { make } from "./element.js";
import { explain } from "./shared/api.js";

// `columns`: headings. `load(cursor)`: a page of the API. `row(item)`: as many cells as columns, each a node or a text.
export class PagedTable {
  #latest = 0;
  #cursor = null;

  constructor(place, { label, columns, load, row, empty }) {
    Object.assign(this, { columns, load, row, empty });
    // The roles are spelt out: on a phone the style makes cards of the rows, and with `display` their meaning would go.
    this.body = make("tbody", { role: "rowgroup" });
    this.table = make("table", { role: "table" },
      make("caption", { class: "unseen" }, label),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...columns.map((name) => make("th", { scope: "col", role: "columnheader" }, name)))),
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
    this.note.textContent = this.count.textContent = "";
    this.more.hidden = true;
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
    try {
      const page = await this.load(this.#cursor);
      if (mine !== this.#latest) return;
      const rows = page.items.map((item) => this.#makeRow(item));
      if (anew) this.body.replaceChildren(...rows);
      else {
        this.body.append(...rows);
        rows[0]?.querySelector("a, button")?.focus();
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

  #makeRow(item) {
    const cells = this.row(item).map((cell, place) => make("td", { role: "cell", "data-label": this.columns[place] }, cell ?? "–"));
    return make("tr", { role: "row" }, ...cells);
  }
}
