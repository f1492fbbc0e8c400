// Says what a schema of the document allows, one row for each member.

import { make, prose } from "./make.js";

const DEEPEST = 3;

export function resolve(schema, api) {
  return schema?.$ref ? resolve(api.components.schemas[schema.$ref.split("/").pop()], api) : schema;
}

function sayType(schema, api) {
  const whole = resolve(schema, api);
  if (whole.enum) return whole.enum.length > 12 ? schema.$ref.split("/").pop() : whole.enum.map((text) => `"${text}"`).join(" or ");
  if (whole.anyOf) return whole.anyOf.map((part) => sayType(part, api)).join(" or ");
  if (whole.type === "array") return `list of ${sayType(whole.items, api)}`;
  if (schema.$ref) return schema.$ref.split("/").pop();
  return [whole.type ?? "anything"].flat().map((type) => (type === "string" && whole.format ? whole.format : type)).join(" or ");
}

// The object inside a list or beside null, if there is one.
function inner(schema, api) {
  const whole = resolve(schema, api);
  if (whole.properties) return whole;
  const parts = whole.anyOf ?? (whole.items ? [whole.items] : []);
  return parts.map((part) => inner(part, api)).find(Boolean);
}

function rows(schema, api, path, depth) {
  const whole = inner(schema, api);
  if (!whole || depth > DEEPEST) return [];
  return Object.entries(whole.properties).flatMap(([name, member]) => {
    const isNeeded = whole.required?.includes(name);
    const said = [member.description, bounds(resolve(member, api))].filter(Boolean).join(" ");
    const row = make("tr", {},
      make("th", { scope: "row" }, make("code", {}, path + name)),
      make("td", {}, sayType(member, api)),
      make("td", {}, isNeeded ? "yes" : "no"),
      make("td", {}, ...prose(said)));
    return [row, ...rows(member, api, `${path}${name}.`, depth + 1)];
  });
}

export function bounds({ minimum, maximum, minLength, maxLength, default: preset }) {
  const said = [];
  if (minimum !== undefined) said.push(`At least ${minimum}.`);
  if (maximum !== undefined) said.push(`At most ${maximum}.`);
  if (minLength) said.push(`At least ${minLength} long.`);
  if (maxLength) said.push(`At most ${maxLength} long.`);
  if (preset !== undefined && preset !== null) said.push(`By default ${JSON.stringify(preset)}.`);
  return said.join(" ");
}

export function describe(schema, api, label) {
  const found = rows(schema, api, "", 0);
  if (!found.length) return make("p", { className: "hint" }, schema ? sayType(schema, api) : "No content.");
  const head = make("tr", {}, ...["member", "type", "always there", "meaning"].map((text) => make("th", { scope: "col" }, text)));
  const table = make("table", { "aria-label": label }, make("thead", {}, head), make("tbody", {}, ...found));
  return make("div", { className: "scrolled", tabIndex: 0, role: "region", "aria-label": label }, table);
}
