// Makes elements. Whatever came from the service goes in as text: nothing here reads HTML.

const TO_THE_MINUTE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const TO_THE_SECOND = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// `make("td", { class: "mono", title: "…" }, "text", element, null)`; a listener is given as `onclick`.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

export const badge = (text, kind = "") => make("span", { class: `badge ${kind}` }, text);

// A moment in the reader's own time, with UTC for who hovers; a dash for none.
export function moment(iso, format = TO_THE_MINUTE) {
  return iso ? make("time", { datetime: iso, title: iso }, format.format(new Date(iso))) : make("span", {}, "–");
}

export const exactMoment = (iso) => moment(iso, TO_THE_SECOND);

export const facts = (list, rows) =>
  list.replaceChildren(...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value ?? "–"))));

const SHORT = 8;

export const userLink = (id, text = `${id.slice(0, SHORT)}…`) =>
  make("a", { href: `#/users/${encodeURIComponent(id)}`, title: id, class: "mono" }, text);
