// What administrators and support ask of the service: the same API as everybody's.

import { authorized, authorizedResponse, send } from "./shared/api.js";

export * from "./shared/api.js";

export const requestReset = (email) => send("POST", "/v1/password-resets", { body: { email } });

const ADMIN = "/v1/admin";

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

const user = (id, rest = "") => `${ADMIN}/users/${encodeURIComponent(id)}${rest}`;

export const getStats = (window) => authorized("GET", `${ADMIN}/stats${query({ window })}`);

export const listUsers = (filters) => authorized("GET", `${ADMIN}/users${query(filters)}`);

export const countUsers = (filters) => authorized("GET", `${ADMIN}/user-count${query(filters)}`);

// The same to many: what became of each.
export const actOnUsers = (act, ids, reason) => authorized("POST", `${ADMIN}/user-acts`, { body: { act, user_ids: ids, reason } });

export const exportUsers = (filters, signal) =>
  authorizedResponse("GET", `${ADMIN}/user-exports${query({ ...filters, columns: "list" })}`, { signal, accept: "text/csv" });

export const createUser = (body) => authorized("POST", `${ADMIN}/users`, { body });

export const getUser = (id) => authorized("GET", user(id));

export const changeUser = (id, body) => authorized("PATCH", user(id), { body });

// No DELETE: some proxies drop its body, and the reason with it.
export const eraseUser = (id, reason) => authorized("POST", user(id, "/erasure"), { body: { reason } });

// `verb`: disable, enable, sign-out, reset-mfa, send-password-reset, send-verification, verify-email, unlock or
// revoke-credentials.
export const actOnUser = (id, verb, reason) => authorized("POST", user(id, `/${verb}`), { body: { reason } });

export const changeEmail = (id, body) => authorized("POST", user(id, "/email"), { body });

// `which`: a path below the user that ends one of the things that the user has, such as `/sessions/<id>/sign-out`.
export const endOneOf = (id, which, reason) => authorized("POST", user(id, which), { body: { reason } });

export const addNote = (id, text) => authorized("POST", user(id, "/notes"), { body: { text } });

// `list`: sessions, credentials, passkeys, identities, grants/given, grants/received, notes or audit-events.
export const listOfUser = (id, list, page) => authorized("GET", user(id, `/${list}${query(page)}`));

export const getStatus = () => authorized("GET", `${ADMIN}/status`);

export const listFindings = () => authorized("GET", `${ADMIN}/findings`);

export const listSettings = () => authorized("GET", `${ADMIN}/settings`);

export const listSigningKeys = () => authorized("GET", `${ADMIN}/signing-keys`);

export const rotateKey = (body) => authorized("POST", `${ADMIN}/signing-keys/rotate`, { body });

export const listMails = (filters) => authorized("GET", `${ADMIN}/mails${query(filters)}`);

export const retryMail = (id, reason) => authorized("POST", `${ADMIN}/mails/${encodeURIComponent(id)}/retry`, { body: { reason } });

export const listOutgoing = (filters) => authorized("GET", `${ADMIN}/events${query(filters)}`);

export const redeliver = (id, reason) => authorized("POST", `${ADMIN}/events/${encodeURIComponent(id)}/redeliver`, { body: { reason } });

export const sendTest = (reason) => authorized("POST", `${ADMIN}/webhooks/test`, { body: { reason } });

export const listErasures = (page) => authorized("GET", `${ADMIN}/erasures${query(page)}`);

export const listEvents = (filters) => authorized("GET", `${ADMIN}/audit-events${query(filters)}`);

export const exportEvents = (filters, signal) =>
  authorizedResponse("GET", `${ADMIN}/audit-events/export${query(filters)}`, { signal, accept: "application/x-ndjson" });

export const findKey = (id) => authorized("GET", `${ADMIN}/access-keys/${encodeURIComponent(id)}`);

export const decodeMessage = (message) =>
  authorized("POST", `${ADMIN}/authorization-messages/decode`, { body: { encoded_message: message } });

// `sent`: the file, its media type and a signal that stops it. The answer comes at its end.
export const importUsers = (parameters, sent) => authorized("POST", `${ADMIN}/user-imports${query(parameters)}`, sent);

export const listImports = (page) => authorized("GET", `${ADMIN}/user-imports${query(page)}`);

export const getImport = (id, page) => authorized("GET", `${ADMIN}/user-imports/${encodeURIComponent(id)}${query(page)}`);
