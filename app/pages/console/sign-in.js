// Who comes in: administrators and support, with a second factor wherever the service wants one.

import * as api from "./api.js";
import { byId } from "./shared/dom.js";
import { busy, get, isSupported } from "./shared/passkeys.js";
import { ask } from "./shared/question.js";
import { answerChallenge, setUp } from "./shared/second-factor.js";

const NO_ACCESS = "This account has no access to the console, so you were signed out. Ask an administrator for a role.";
const platform = () => navigator.userAgentData?.platform || navigator.platform || "a browser";
const deviceName = () => `Console on ${platform()}`.slice(0, 100);

export function setNotice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function complain(text) {
  byId("form-error").textContent = text;
}

async function leave(text) {
  await api.logOut().catch(() => {});
  throw new api.Problem({ detail: text });
}

// Outside development the API answers no administrator without a second factor: asks it, and helps to set one up.
async function secondFactor() {
  try {
    await api.listUsers({ limit: 1 });
    return;
  } catch (problem) {
    if (problem.code !== "mfa_required") throw problem;
  }
  if (!(await setUp("Administrators and support need a second factor."))) await leave("Without a second factor the console stays closed, so you were signed out. Sign in again to set one up.");
}

async function enter(onSignedIn) {
  const me = await api.me();
  if (me.role === "user") await leave(NO_ACCESS);
  await secondFactor();
  await onSignedIn(await api.me());
}

async function withPassword() {
  const result = await api.logIn({ email: byId("email").value, password: byId("password").value, device_name: deviceName() });
  if (result.mfa && !(await answerChallenge(result.mfa))) throw new api.Problem({ detail: "You are not signed in: the code was missing." });
}

// Whether the cookie of an earlier sign-in still opens the console.
export async function resume(onSignedIn) {
  try {
    if (!(await api.resume())) return false;
    await enter(onSignedIn);
    return true;
  } catch (problem) {
    complain(problem.status === 401 ? "" : api.explain(problem));
    return false;
  }
}

// The answer is the same whether there is such an account or not.
async function forgot() {
  const sent = await ask({
    title: "Choose a new password",
    text: "A mail with a link, good for ten minutes, goes to this address if it has an account. Your second factor stays.",
    fields: [{ name: "email", label: "E-mail", type: "email", autocomplete: "username", value: byId("email").value }],
    submit: "Send the mail",
  }, ({ email }) => api.requestReset(email.trim()));
  if (sent) setNotice("If this address has an account, the mail is on its way.");
}

export function wireSignIn(onSignedIn) {
  const begin = () => {
    complain("");
    setNotice("");
  };
  const attempt = async (firstFactor) => {
    begin();
    await firstFactor();
    try {
      await enter(onSignedIn);
    } catch (problem) {
      await api.logOut().catch(() => {});
      throw problem;
    }
    byId("sign-in-form").reset();
  };
  byId("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy(byId("submit"), () => attempt(withPassword), (text) => { complain(text); byId("email").focus(); });
  });
  byId("forgot-password").addEventListener("click", () => forgot().catch((problem) => complain(api.explain(problem))));
  byId("passkey-sign-in").hidden = !isSupported();
  byId("passkey-sign-in").addEventListener("click", ({ currentTarget }) =>
    busy(currentTarget, () => attempt(async () => api.logInWithPasskey({ credential: await get(), device_name: deviceName() })), complain));
}
