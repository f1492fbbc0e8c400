// How an audit event is shown, in the browser of all and on a user's page.

import { badge, exactMoment, make, userLink } from "./element.js";

const detail = ({ name, value }) => make("span", { class: "detail" }, make("b", {}, name.replaceAll("_", " ")), ` ${value ?? "–"}`);

const person = (id) => (id ? userLink(id) : "–");

export const COLUMNS = ["When", "Event", "Who", "About whom", "Address", "Detail"];

export const eventRow = (event) => [
  exactMoment(event.at),
  make("span", { class: "badges" }, make("span", { class: "mono" }, event.event), event.outcome === "refused" ? badge("refused", "bad") : null),
  person(event.actor_id),
  person(event.subject_id),
  make("span", { class: "mono", title: event.request_id ? `Request ${event.request_id}` : "" }, event.address),
  make("span", { class: "details" }, ...event.detail.map(detail)),
];
