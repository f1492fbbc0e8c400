// Calls of the service, and the tokens they need: these live in variables here. A reload forgets them, but for a cookie.

import { sayField, TEXTS } from "./texts.js";

const SERVICE = new URL("../..", import.meta.url).href.replace(/\/$/, ""); // it may have a path on its host
const EARLY = 30_000;
let signIn = "/v1/auth";
let tokens = null;
let refreshing = null;
let sessionEnded = () => {};

// Its message is for the person at the page, chosen by `code`. `detail` is the message where this page itself complains.
export class Problem extends Error {
  constructor({ status = 0, code = "", detail = "", errors = [] }, retryAfter = null) {
    super(code ? TEXTS[code] ?? `That did not work (${code}).` : detail || `The service answered ${status}.`);
    Object.assign(this, { status, code, errors, retryAfter });
  }

  static async from(response) {
    const { code, errors } = await response.json().catch(() => ({}));
    return new Problem({ code, errors, status: response.status }, response.headers.get("Retry-After"));
  }
}

// What went wrong, and what to do about it.
export function explain(problem) {
  const reasons = problem.errors?.map(sayField) ?? [];
  const said = [reasons.length ? reasons.join(" ") : problem.message];
  if (problem.retryAfter) said.push(`Try again in ${problem.retryAfter} ${Number(problem.retryAfter) === 1 ? "second" : "seconds"}.`);
  return said.join(" ");
}

async function ask(method, path, { body, file, type, bearer, keepalive = false, signal = null, accept = "application/json" } = {}) {
  const headers = { Accept: accept };
  if (body || file) headers["Content-Type"] = file ? type : "application/json";
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const credentials = path.startsWith("/v1/") ? "omit" : "same-origin";
  const request = { method, headers, keepalive, signal, credentials, cache: "no-store", redirect: "error" };
  if (body || file) request.body = file ?? JSON.stringify(body);
  const response = await fetch(SERVICE + path, request).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "unreachable" });
  });
  if (!response.ok) throw await Problem.from(response);
  return response;
}

export async function send(method, path, options = {}) {
  const response = await ask(method, path, options);
  return response.headers.get("Content-Type") ? response.json() : null;
}

export function keep(issued) {
  tokens = { ...issued, staleAt: Date.now() + issued.expires_in * 1000 - EARLY };
}

// The refresh token stays in a cookie that no script reads, and that is sent to `path` alone.
export function keepInCookie(path) {
  signIn = path;
}

const ownToken = (held) => (held.refresh_token ? { body: { refresh_token: held.refresh_token } } : {});

// Whether this browser is signed in still, after the page was loaded anew: where a cookie keeps the session.
export async function resume() {
  const issued = await inTurn(() => send("POST", `${signIn}/refresh`));
  if (issued) keep(issued);
  return Boolean(issued);
}

// One tab at a time: an answer that came late would put an older token into the cookie that they share.
const inTurn = (act) => (navigator.locks && signIn !== "/v1/auth" ? navigator.locks.request(signIn, act) : act());

// A refresh token works once: everybody who needs a new access token waits for the same exchange.
function refresh() {
  refreshing ??= exchange(tokens).finally(() => { refreshing = null; });
  return refreshing;
}

async function exchange(held) {
  try {
    const issued = await inTurn(() => send("POST", `${signIn}/refresh`, ownToken(held)));
    if (tokens !== held) return;
    if (issued?.session_id === held.session_id) keep(issued);
    else forget(); // another tab has signed out, or somebody else in
  } catch (problem) {
    if (problem.status === 401 && tokens === held) forget();
    throw problem;
  }
}

function forget() {
  tokens = null;
  sessionEnded();
}

export function forgetTokens() {
  tokens = null;
}

function accessToken() {
  if (!tokens) throw new Problem({ status: 401, code: "signed_out" });
  return tokens.access_token;
}

// For calls that a page sends by itself; null where nobody is signed in.
export async function freshToken() {
  if (tokens && Date.now() > tokens.staleAt) await refresh();
  return tokens?.access_token ?? null;
}

export const authorized = (method, path, options) => withToken(send, method, path, options);

// The same for an answer that is read piece by piece.
export const authorizedResponse = (method, path, options) => withToken(ask, method, path, options);

async function withToken(call, method, path, options = {}) {
  if (tokens && Date.now() > tokens.staleAt) await refresh();
  const bearer = accessToken();
  try {
    return await call(method, path, { ...options, bearer });
  } catch (problem) {
    // Of other 401s, such as that of a wrong passkey, a new access token would change nothing.
    if (problem.code !== "invalid_token") throw problem;
    if (tokens?.access_token === bearer) await refresh();
    return call(method, path, { ...options, bearer: accessToken() });
  }
}

export function onSessionEnd(listener) {
  sessionEnded = listener;
}

export async function logIn(form) {
  const result = await send("POST", `${signIn}/login`, { body: form });
  if (result.tokens) keep(result.tokens);
  return result;
}

export async function answerChallenge(answer) {
  keep((await send("POST", `${signIn}/mfa`, { body: answer })).tokens);
}

export async function stepUp(proof) {
  keep(await authorized("POST", `${signIn}/step-up`, { body: proof }));
}

export const enrolTotp = () => authorized("POST", "/v1/me/totp");

export const confirmTotp = (form) => authorized("POST", "/v1/me/totp/confirm", { body: form });

export const renewRecoveryCodes = () => authorized("POST", "/v1/me/recovery-codes");

export const me = () => authorized("GET", "/v1/me");

export const passkeySignInOptions = () => send("POST", "/v1/auth/passkey/options");

// A passkey is two factors in one: no second one is asked for.
export async function logInWithPasskey(form) {
  keep((await send("POST", `${signIn}/passkey`, { body: form })).tokens);
}

// Forgets first and tells the service after: whatever becomes of the request, this page holds nothing more.
export async function logOut({ leaving = false } = {}) {
  const held = tokens;
  tokens = null;
  if (held) await send("POST", `${signIn}/logout`, { ...ownToken(held), keepalive: leaving });
}
