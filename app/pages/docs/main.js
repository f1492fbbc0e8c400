// The API's pages: every call of the OpenAPI document, which can be sent as it stands. Whoever signs in, by the box or by
// one of the calls, is whom the calls after it are sent for.

import { answerChallenge, explain, freshToken, keep, logIn, logOut, me, onSessionEnd } from "./shared/api.js";
import { byId } from "./shared/dom.js";
import { make } from "./make.js";
import { makeOperation } from "./operation.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
let pending = null; // the second factor that the service asked for
let isSignedIn = false;

// New at each load of the page: the address of an example would soon have an account.
const load = Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => (byte % 36).toString(36)).join("");
const freshen = (text) => text.replace(/\b([a-z]+)@example\.(org|com)\b/g, `$1-${load}@example.$2`);

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
    if (await signIn(form)) return await enter();
    leave("Now the code.");
    byId("code-field").hidden = false;
    byId("code").focus();
  } catch (problem) {
    say(explain(problem));
  }
}

async function enter() {
  isSignedIn = true;
  pending = null;
  byId("code-field").hidden = true;
  byId("sign-out").hidden = false;
  byId("password").value = byId("code").value = "";
  byId("token").dataset.typed = "";
  byId("token").value = await freshToken();
  const { email, guest } = await me();
  say(`Signed in as ${email ?? (guest ? "a guest" : "somebody without an address")}.`);
}

function leave(text) {
  isSignedIn = false;
  byId("sign-out").hidden = true;
  byId("token").value = "";
  say(text);
}

async function signOut() {
  leave("Signed out.");
  await logOut().catch(() => {});
}

// What a call answered: its tokens are this page's from now on.
async function take(answer) {
  const tokens = answer?.tokens ?? answer;
  if (!tokens?.access_token) return;
  keep(tokens);
  await enter().catch((problem) => say(explain(problem)));
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
    addTag(tag, own.map((operation) => makeOperation(operation, api, { bearer, take, freshen })));
  }
  openNamed();
}

byId("guides").hidden = !document.querySelector("#guides li");
onSessionEnd(() => leave("The session has ended. Sign in again."));
byId("sign-in").addEventListener("submit", submit);
byId("sign-out").addEventListener("click", signOut);
byId("token").addEventListener("input", ({ target }) => { target.dataset.typed = target.value ? "yes" : ""; });
byId("find").addEventListener("input", find);
addEventListener("hashchange", openNamed);
show();
