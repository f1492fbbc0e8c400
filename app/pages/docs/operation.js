// One call: what it takes, what it answers, and a form that sends it. `page` has what the calls share: `bearer()`, the access
// token; `take(answer)`, which is told what was answered; and `freshen(text)`, an example as this page shows it.

import { make, prose } from "./make.js";
import { bounds, describe } from "./schema.js";

const SERVICE = new URL("..", import.meta.url).href.replace(/\/$/, ""); // it may have a path on its host
const BINARY = "application/octet-stream";
const LONGEST_SHOWN = 100_000;
const SIGNED_OUT = ["unauthenticated", "invalid_token"];

export function makeOperation(operation, api, page) {
  const { operationId, method, path, summary, description = "" } = operation;
  const heading = make("summary", {},
    make("span", { className: `method ${method}` }, method.toUpperCase()), make("code", {}, path), make("span", { className: "title" }, summary));
  const details = make("details", { id: operationId, className: "operation" }, heading);
  details.dataset.words = `${method} ${path} ${summary} ${operationId} ${description}`.toLowerCase();
  details.addEventListener("toggle", () => { if (details.children.length === 1) details.append(makeContent(operation, api, page)); }, { once: true });
  return details;
}

function makeContent(operation, api, page) {
  const { description, responses, requestBody, security, operationId } = operation;
  const answers = Object.entries(responses).filter(([status]) => status < "3");
  const [type, content] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const parts = [make("p", {}, ...prose(description))];
  parts.push(make("p", { className: "hint" }, security?.length ? (security.length > 1 ? "With an access token or without one." : "With an access token.") : "Without an access token."));
  parts.push(makeForm(operation, type, content, page));
  if (content) parts.push(make("h3", {}, "It takes"), describe(content.schema, api, `What ${operationId} takes`));
  for (const [status, answer] of answers) {
    parts.push(make("h3", {}, `It answers ${status}`), make("p", { className: "hint" }, ...prose(answer.description)));
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    if (schema) parts.push(describe(schema, api, `What ${operationId} answers with ${status}`));
  }
  parts.push(make("p", { className: "hint" }, "Every refusal is a problem, whose ", make("code", {}, "code"), " says which."));
  return make("div", { className: "content" }, ...parts);
}

function makeForm(operation, type, content, page) {
  const { operationId, parameters = [], summary } = operation;
  const field = (name, label, input, hint) => {
    input.id = `${operationId}-${name}`;
    const said = hint ? make("p", { className: "hint", id: `${input.id}-hint` }, ...prose(hint)) : null;
    if (said) input.setAttribute("aria-describedby", said.id);
    return make("div", { className: "field" }, make("label", { htmlFor: input.id }, label), input, said);
  };
  const form = make("form", { noValidate: true });
  for (const { name, in: place, required, schema, description } of parameters) {
    const input = make("input", { name, value: required ? (schema.examples?.[0] ?? "") : "", autocomplete: "off", spellcheck: false });
    input.dataset.place = place;
    const hint = [description, bounds(schema)].filter(Boolean).join(" ");
    form.append(field(name, required ? name : `${name} (optional)`, input, hint));
  }
  if (content) {
    const text = page.freshen(typeof content.example === "string" ? content.example : JSON.stringify(content.example, null, 2));
    if (type === BINARY) form.append(field("type", "Content-Type", make("input", { name: "type", value: "text/csv", autocomplete: "off" })));
    form.append(field("body", "Body", make("textarea", { name: "body", value: text, rows: Math.min(text.split("\n").length + 1, 16), spellcheck: false })));
  }
  const status = make("p", { className: "status", role: "status" });
  const help = make("p", { className: "help", hidden: true }, "This call needs an access token that works: ", make("a", { href: "#sign-in-heading" }, "Sign in"), " in the box at the top of this page.");
  const answer = make("pre", { className: "answer", tabIndex: 0, hidden: true, role: "region", "aria-label": `Answer of ${summary}` });
  form.append(make("button", { type: "submit", className: "primary", "aria-label": `Send: ${summary}` }, "Send"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    status.textContent = "Sending…";
    help.hidden = true;
    try {
      const got = await send(operation, form, type, await page.bearer());
      status.textContent = got.status;
      answer.textContent = got.text;
      help.hidden = !SIGNED_OUT.includes(got.body?.code);
      if (got.isGood) page.take(got.body);
    } catch {
      status.textContent = "There was no answer. Is the service running?";
      answer.textContent = "";
    }
    answer.hidden = !answer.textContent;
  });
  return make("div", { className: "try" }, form, status, help, answer);
}

async function send({ method, path, security }, form, type, token) {
  const fields = [...form.querySelectorAll("[data-place]")];
  const query = new URLSearchParams();
  let target = path;
  for (const { name, value, dataset } of fields) {
    if (dataset.place === "path") target = target.replace(`{${name}}`, encodeURIComponent(value));
    else if (dataset.place === "query" && value) query.append(name, value);
  }
  const headers = {};
  if (token && security?.length) headers.Authorization = `Bearer ${token}`;
  const body = form.elements.body?.value || undefined;
  if (body) headers["Content-Type"] = form.elements.type?.value ?? type;
  const url = `${SERVICE}${target}${query.size ? `?${query}` : ""}`;
  const response = await fetch(url, { method: method.toUpperCase(), headers, body, credentials: "omit", cache: "no-store" });
  const said = await response.text();
  const id = response.headers.get("X-Request-ID");
  const read = parse(said);
  const text = read ? JSON.stringify(read, null, 2) : said;
  return { status: `${response.status} ${response.statusText}${id ? `, request ${id}` : ""}`, text: text.slice(0, LONGEST_SHOWN), body: read, isGood: response.ok };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
