// One question in a dialog, asked again until the service takes the answer or the person gives up.

import { explain } from "./api.js";
import { byId, part } from "./dom.js";

const dialog = byId("question");
const form = part(dialog, "form");

function makeInput({ type = "text", autocomplete = "off", inputmode = "", options = null, maxlength = 0, rows = 0 }) {
  if (options) {
    const select = document.createElement("select");
    select.append(...options.map(([value, label]) => new Option(label, value)));
    return select;
  }
  const input = document.createElement(rows ? "textarea" : "input");
  Object.assign(input, rows ? { rows } : { type, autocomplete });
  if (inputmode) input.inputMode = inputmode;
  if (maxlength) input.maxLength = maxlength;
  return input;
}

function makeField({ name, label, hint = "", value = "", ...kind }) {
  const field = document.createElement("div");
  field.className = "field";
  const caption = document.createElement("label");
  caption.htmlFor = `question-${name}`;
  caption.textContent = label;
  const input = makeInput(kind);
  Object.assign(input, { id: caption.htmlFor, name, required: kind.required ?? true });
  if (value) input.value = value;
  field.append(caption, input);
  if (hint) {
    const note = Object.assign(document.createElement("p"), { className: "hint", id: `${input.id}-hint`, textContent: hint });
    input.setAttribute("aria-describedby", note.id);
    field.append(note);
  }
  return field;
}

function complain(problem) {
  part(dialog, "error").textContent = explain(problem);
  form.querySelector("input")?.select();
}

// Resolves to what `act` gives for the answers, or to null where nobody answered. `shown`: what stands above the fields.
// `done`: there is nothing to cancel any more.
export function ask({ title, text = "", shown = null, fields = [], submit, danger = false, alternative = "", done = false }, act) {
  part(dialog, "title").textContent = title;
  part(dialog, "text").textContent = text;
  part(dialog, "text").hidden = !text;
  part(dialog, "fields").replaceChildren(...(shown ? [shown] : []), ...fields.map(makeField));
  form.querySelector("[name]")?.setAttribute("autofocus", "");
  part(dialog, "error").textContent = "";
  part(dialog, "submit").textContent = submit;
  part(dialog, "submit").className = danger ? "danger solid" : "primary";
  part(dialog, "cancel").hidden = done;
  part(dialog, "alternative").textContent = alternative;
  part(dialog, "alternative").hidden = !alternative;
  return new Promise((resolve) => {
    let outcome = null;
    const listening = new AbortController();
    const listen = (target, event, handler) => target.addEventListener(event, handler, { signal: listening.signal });
    listen(form, "submit", async (event) => {
      event.preventDefault();
      part(dialog, "submit").disabled = true;
      try {
        outcome = (await act(Object.fromEntries(new FormData(form)))) ?? true;
        dialog.close();
      } catch (problem) {
        complain(problem);
      } finally {
        part(dialog, "submit").disabled = false;
      }
    });
    listen(part(dialog, "alternative"), "click", () => { outcome = "alternative"; dialog.close(); });
    listen(part(dialog, "cancel"), "click", () => dialog.close());
    listen(dialog, "close", () => { listening.abort(); part(dialog, "fields").replaceChildren(); resolve(outcome); });
    dialog.showModal();
  });
}
