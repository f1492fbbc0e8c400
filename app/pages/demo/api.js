// The service's own API. The tokens live in this module's variables and nowhere else: a reload forgets them.

const EARLY = 30_000;
let tokens = null;
let refreshing = null;
let sessionEnded = () => {};

export class Problem extends Error {
  constructor({ status = 0, code = "", title = "", detail = "", errors = [] }, retryAfter = null) {
    super(detail || title || `The service answered ${status}.`);
    Object.assign(this, { status, code, errors, retryAfter });
  }

  static async from(response) {
    const body = await response.json().catch(() => ({}));
    return new Problem({ ...body, status: response.status }, response.headers.get("Retry-After"));
  }
}

async function send(method, path, { body, bearer, keepalive = false } = {}) {
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const request = { method, headers, keepalive, credentials: "omit", cache: "no-store", redirect: "error" };
  if (body) request.body = JSON.stringify(body);
  const response = await fetch(path, request).catch(() => {
    throw new Problem({ code: "unreachable", detail: "The service cannot be reached. Are you online?" });
  });
  if (!response.ok) throw await Problem.from(response);
  return response.headers.get("Content-Type") ? response.json() : null;
}

function keep(issued) {
  tokens = { ...issued, staleAt: Date.now() + issued.expires_in * 1000 - EARLY };
}

// A refresh token works once: everybody who needs a new access token waits for the same exchange.
function refresh() {
  refreshing ??= exchange(tokens).finally(() => { refreshing = null; });
  return refreshing;
}

async function exchange(held) {
  try {
    const issued = await send("POST", "/v1/auth/refresh", { body: { refresh_token: held.refresh_token } });
    if (tokens === held) keep(issued);
  } catch (problem) {
    if (problem.status === 401 && tokens === held) forget();
    throw problem;
  }
}

function forget() {
  tokens = null;
  sessionEnded();
}

function accessToken() {
  if (!tokens) throw new Problem({ status: 401, code: "signed_out", detail: "You are signed out." });
  return tokens.access_token;
}

async function authorized(method, path, options = {}) {
  if (tokens && Date.now() > tokens.staleAt) await refresh();
  const bearer = accessToken();
  try {
    return await send(method, path, { ...options, bearer });
  } catch (problem) {
    // Of other 401s, such as that of a wrong passkey, a new access token would change nothing.
    if (problem.code !== "invalid_token") throw problem;
    if (tokens?.access_token === bearer) await refresh();
    return send(method, path, { ...options, bearer: accessToken() });
  }
}

export function onSessionEnd(listener) {
  sessionEnded = listener;
}

export const register = (form) => send("POST", "/v1/users", { body: form });

export async function logIn(form) {
  const result = await send("POST", "/v1/auth/login", { body: form });
  if (result.tokens) keep(result.tokens);
  return result;
}

export async function answerChallenge(answer) {
  keep((await send("POST", "/v1/auth/mfa", { body: answer })).tokens);
}

export async function beGuest(form) {
  keep((await send("POST", "/v1/auth/guest", { body: form })).tokens);
}

export async function stepUp(proof) {
  keep(await authorized("POST", "/v1/auth/step-up", { body: proof }));
}

export const requestReset = (email) => send("POST", "/v1/password-resets", { body: { email } });

export const requestVerification = (email) => send("POST", "/v1/email-verifications", { body: { email } });

export const changePassword = (form) => authorized("PUT", "/v1/me/password", { body: form });

export const changeAddress = (form) => authorized("POST", "/v1/me/email", { body: form });

export const upgrade = (form) => authorized("POST", "/v1/me/upgrade", { body: form });

export const enrolTotp = () => authorized("POST", "/v1/me/totp");

export const confirmTotp = (form) => authorized("POST", "/v1/me/totp/confirm", { body: form });

export const removeTotp = () => authorized("DELETE", "/v1/me/totp");

export const renewRecoveryCodes = () => authorized("POST", "/v1/me/recovery-codes");

export async function erase(form) {
  await authorized("DELETE", "/v1/me", { body: form });
  tokens = null;
}

export const me = () => authorized("GET", "/v1/me");

export const vend = (access) => authorized("POST", "/v1/credentials", { body: { access } });

export async function listSessions() {
  const sessions = [];
  let cursor = null;
  do {
    const page = await authorized("GET", `/v1/me/sessions${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`);
    sessions.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return sessions;
}

export const endSession = (id) => authorized("DELETE", `/v1/me/sessions/${encodeURIComponent(id)}`);

export const passkeySignInOptions = () => send("POST", "/v1/auth/passkey/options");

// A passkey is two factors in one: no second one is asked for.
export async function logInWithPasskey(form) {
  keep((await send("POST", "/v1/auth/passkey", { body: form })).tokens);
}

export const passkeyOptions = () => authorized("POST", "/v1/me/passkeys/options");

export const addPasskey = (credential) => authorized("POST", "/v1/me/passkeys", { body: { credential } });

export const listPasskeys = async () => (await authorized("GET", "/v1/me/passkeys")).items;

export const renamePasskey = (id, name) =>
  authorized("PATCH", `/v1/me/passkeys/${encodeURIComponent(id)}`, { body: { name } });

export const removePasskey = (id) => authorized("DELETE", `/v1/me/passkeys/${encodeURIComponent(id)}`);

// Forgets first and tells the service after: whatever becomes of the request, this page holds nothing more.
export async function logOut({ leaving = false } = {}) {
  const held = tokens;
  tokens = null;
  if (held) await send("POST", "/v1/auth/logout", { body: { refresh_token: held.refresh_token }, keepalive: leaving });
}
