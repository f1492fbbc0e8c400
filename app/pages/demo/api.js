// What the sample app asks of the service, beside what every page does.

import { authorized, forgetTokens, keep, send } from "./shared/api.js";

export * from "./shared/api.js";

export const register = (form) => send("POST", "/v1/users", { body: form });

export async function beGuest(form) {
  keep((await send("POST", "/v1/auth/guest", { body: form })).tokens);
}

/** Whether the service makes new guests. */
export async function takesGuests() {
  const response = await fetch(new URL("settings.json", import.meta.url), { cache: "no-store" });
  return response.ok && (await response.json()).guests;
}

export const requestReset = (email) => send("POST", "/v1/password-resets", { body: { email } });

export const requestVerification = (email) => send("POST", "/v1/email-verifications", { body: { email } });

export const changePassword = (form) => authorized("PUT", "/v1/me/password", { body: form });

export const changeAddress = (form) => authorized("POST", "/v1/me/email", { body: form });

export const confirmAddress = (token) => authorized("POST", "/v1/me/email/confirm", { body: { token } });

export const usage = () => authorized("GET", "/v1/me/usage");

export const upgrade = (form) => authorized("POST", "/v1/me/upgrade", { body: form });

export const removeTotp = () => authorized("DELETE", "/v1/me/totp");

export async function erase(form) {
  await authorized("DELETE", "/v1/me", { body: form });
  forgetTokens();
}

export const explainAccess = (question) => authorized("POST", "/v1/access-checks", { body: question });

// What others share is read, so a key that only uploads does not carry it. `grants` names which of it; null: whatever
// this person has accepted.
export const vend = ({ access, grants }) =>
  authorized("POST", "/v1/credentials", {
    body: access === "write" ? { access } : { access, include_shared: true, grant_ids: grants },
  });

async function listAll(path) {
  const items = [];
  let cursor = null;
  do {
    const page = await authorized("GET", `${path}${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}

export const listSessions = () => listAll("/v1/me/sessions");

export const share = (form) => authorized("POST", "/v1/grants", { body: form });

export const listShared = () => listAll("/v1/grants");

export const makeLink = (form) => authorized("POST", "/v1/links", { body: form });

export const listLinks = () => listAll("/v1/links");

export const endLink = (id) => authorized("DELETE", `/v1/links/${encodeURIComponent(id)}`);

export const listReceived = () => listAll("/v1/grants/received");

export const acceptGrant = (id) => authorized("POST", `/v1/grants/received/${encodeURIComponent(id)}/accept`);

export const endSharing = (id) => authorized("DELETE", `/v1/grants/${encodeURIComponent(id)}`);

export const endSession = (id) => authorized("DELETE", `/v1/me/sessions/${encodeURIComponent(id)}`);

export const passkeyOptions = () => authorized("POST", "/v1/me/passkeys/options");

export const addPasskey = (credential) => authorized("POST", "/v1/me/passkeys", { body: { credential } });

export const listPasskeys = async () => (await authorized("GET", "/v1/me/passkeys")).items;

export const renamePasskey = (id, name) =>
  authorized("PATCH", `/v1/me/passkeys/${encodeURIComponent(id)}`, { body: { name } });

export const removePasskey = (id) => authorized("DELETE", `/v1/me/passkeys/${encodeURIComponent(id)}`);
