// The API's pages: every call of the OpenAPI document, which can be sent as it stands.

import { answerChallenge, explain, freshToken, logIn, logOut } from "./shared/api.js";
import { byId } from "./shared/dom.js";
import { make } from "./make.js";
import { makeOperation } from "./operation.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
let pending = null; // the second factor that the service asked for
let isSignedIn = false;

function say(text) {
  byId("sign-in-status").textContent = text;
}

async function signIn(form) {
  if (pending) {
    const method = /^\d{6}$/.test(form.code.replaceAll(" ", "")) ? "totp" : "recovery_code";
    await answerChallenge({ mfa_token: pending.mfa_token, method, code: form.code });
    return true;
  }
  const result = await logIn({ email: form.email, password: form.password, device_name: "API pages" });
  pending = result.mfa;
  return Boolean(result.tokens);
}

async function submit(event) {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(event.target));
  try {
    isSignedIn = await signIn(form);
    if (isSignedIn) pending = null;
    byId("code-field").hidden = !pending;
    byId("sign-out").hidden = !isSignedIn;
    byId("token").value = isSignedIn ? await freshToken() : "";
    say(isSignedIn ? `Signed in as ${form.email}.` : "Now the code.");
    if (pending) byId("code").focus();
    else byId("password").value = byId("code").value = "";
  } catch (problem) {
    say(explain(problem));
  }
}

async function signOut() {
  isSignedIn = false;
  byId("sign-out").hidden = true;
  byId("token").value = "";
  say("Signed out.");
  await logOut().catch(() => {});
}

// What the sign-in gave is renewed before it expires; what somebody typed is sent as it is.
async function bearer() {
  const field = byId("token");
  if (isSignedIn && field.dataset.typed !== "yes") field.value = (await freshToken().catch(() => null)) ?? "";
  return field.value.trim();
}

function addTag({ name, description }, operations) {
  const list = make("div", {}, ...operations);
  byId("operations").append(make("section", { id: `tag-${name}` }, make("h2", {}, name), make("p", { className: "hint" }, description), list));
  byId("tags").append(make("a", { href: `#tag-${name}` }, name));
}

function find() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const operation of document.querySelectorAll(".operation")) {
    operation.hidden = !words.every((word) => operation.dataset.words.includes(word));
    found += !operation.hidden;
  }
  for (const section of document.querySelectorAll("#operations > section")) section.hidden = !section.querySelector(".operation:not([hidden])");
  byId("none").hidden = found > 0;
}

function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) named.open = true;
  named?.scrollIntoView();
}

async function show() {
  const response = await fetch(new URL("../openapi.json", import.meta.url));
  const api = await response.json();
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => method in methods).map((method) => ({ path, method, ...methods[method] })));
  byId("operations").replaceChildren();
  byId("summary").textContent = api.info.summary;
  for (const tag of api.tags) {
    const own = operations.filter(({ tags }) => tags.includes(tag.name));
    addTag(tag, own.map((operation) => makeOperation(operation, api, bearer)));
  }
  openNamed();
}

byId("guides").hidden = !document.querySelector("#guides li");
byId("sign-in").addEventListener("submit", submit);
byId("sign-out").addEventListener("click", signOut);
byId("token").addEventListener("input", ({ target }) => { target.dataset.typed = target.value ? "yes" : ""; });
byId("find").addEventListener("input", find);
addEventListener("hashchange", openNamed);
show();
