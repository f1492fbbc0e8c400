// What the link opens: a credential for one folder, renewed before it ends, kept in memory. Only pictures/s3.js reads the
// secret. The link's own secret is in the address after `#`, which a browser sends nowhere.

import { send } from "./shared/api.js";

let link = null;
let held = null;
let pending = null;
let place = null;

const serverNow = (one) => Date.now() + one.skew;

const isDue = (one) => one.expiresAt - serverNow(one) < Math.min(300_000, one.lifetime / 5);

async function obtain() {
  const asked = Date.now();
  const mine = link;
  const opened = await send("POST", "/v1/links/open", { body: mine });
  const { credentials, ...about } = opened;
  const skew = Date.parse(credentials.server_time) - (asked + Date.now()) / 2;
  const expiresAt = Date.parse(credentials.expiration);
  if (mine === link) { // else another link was opened meanwhile, in the same tab
    held = { ...credentials, expiresAt, lifetime: credentials.expires_in * 1000, skew, signingKeys: new Map() };
    place = about.write_prefix;
    if (about.contributor) {
      keepToken(about.link_id, about.contributor.token);
      link = { secret: mine.secret, password: mine.password, contributor_token: about.contributor.token };
    }
  }
  return about;
}

function renew() {
  if (pending) return pending;
  const mine = obtain().finally(() => { if (pending === mine) pending = null; });
  pending = mine;
  return mine;
}

// `form`: the link's secret and, if it has one, its password. Returns what the service says of the link.
export async function open(form) {
  link = form;
  held = null;
  pending = null;
  return renew();
}

// Who contributes is the same person on their next visit: this browser keeps the token, where it may.
const nameOfToken = (id) => `contributor ${id}`;

function keepToken(id, token) {
  try {
    localStorage.setItem(nameOfToken(id), token);
  } catch { /* it lasts as long as the page */ }
}

function keptToken(id) {
  try {
    return localStorage.getItem(nameOfToken(id));
  } catch {
    return null;
  }
}

/** Where this person's pictures go. Null if they only look, or there is no room. */
export const placeToWrite = async () => (await fresh(), place);

/** Opens the link again as somebody who contributes: with that name, or as who they were. False if they were nobody. */
export async function contribute(id, name = null) {
  const token = name === null ? keptToken(id) : null;
  if (name === null && token === null) return false;
  const { secret, password } = link;
  try {
    await open({ secret, password, ...(token ? { contributor_token: token } : { contributor_name: name }) });
    return true;
  } catch (problem) {
    await open({ secret, password });
    if (problem.code !== "contributor_not_found") throw problem;
    localStorage.removeItem(nameOfToken(id));
    return false;
  }
}

export const isContributor = () => link?.contributor_token !== undefined;

export async function fresh() {
  if (held && !isDue(held)) return held;
  try {
    await renew();
  } catch (problem) {
    // The service may be away for a while: what still lives at the engine still opens the folder.
    if (!held || held.expiresAt <= serverNow(held)) throw problem;
  }
  return held;
}

export async function replace(refused) {
  if (held === refused) await renew();
  return held;
}

export const report = () => send("POST", "/v1/links/report", { body: { secret: link.secret, password: link.password } });

export const mayWrite = () => false;

// S3 refuses a request dated more than 15 minutes off, so a device with a wrong clock signs with the service's time.
export const signingTime = (one) => new Date(serverNow(one)).toISOString().replace(/[:-]|\.\d{3}/g, "");
