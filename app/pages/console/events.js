// How an audit event is shown, in the browser of all and on a user's page.

import { badge, exactMoment, make, userLink } from "./element.js";
import { detail, sayEvent } from "./words.js";

// The name where there is one, and always the id, of which the link has all.
function person(id, name, email) {
  if (!id) return "–";
  if (!name && !email) return userLink(id);
  return make("a", { href: `#/users/${encodeURIComponent(id)}`, class: "primary-cell", title: id },
    make("strong", {}, ...(name ? [name] : breakable(email))), make("small", { class: "mono" }, ...(name && email ? breakable(email) : [`${id.slice(0, 8)}…`])));
}

// An address that is too long for its column goes on at a dot or the @ on the next line, not within a word.
const breakable = (email) => email.split(/(?=[.@])/).flatMap((piece, place) => (place ? [make("wbr"), piece] : [piece]));

function origin({ address, request_id: request }) {
  return make("span", { class: "stack" }, make("span", { class: "mono" }, address),
    request ? make("a", { href: `#/audit?request_id=${encodeURIComponent(request)}`, class: "mono", title: `All events of request ${request}` }, `${request.slice(0, 8)}…`) : null);
}

export const COLUMNS = ["When", "Event", "Who", "About whom", "Address, request", "Detail"];

export const eventRow = (event) => [
  exactMoment(event.at),
  make("span", { class: "stack" },
    make("span", { class: "badges" }, make("strong", {}, sayEvent(event.event)), event.outcome === "refused" ? badge("refused", "bad") : null),
    make("small", { class: "mono" }, event.event)),
  person(event.actor_id, event.actor_name, event.actor_email),
  person(event.subject_id, event.subject_name, event.subject_email),
  origin(event),
  make("span", { class: "details" }, ...event.detail.map(detail)),
];
