// The second factor: asked for at sign-in, set up and taken away in the panel.

import * as api from "./api.js";
import { showCodes, showSecret } from "./keepsakes.js";
import { ask } from "./question.js";

const CODES = {
  totp: {
    title: "Your second factor",
    text: "The code that your authenticator app shows now.",
    fields: [{ name: "code", label: "Code", autocomplete: "one-time-code", inputmode: "numeric" }],
    submit: "Sign in",
    alternative: "Use a recovery code",
  },
  recovery_code: {
    title: "A recovery code",
    text: "One of those that you kept when you set the second factor up. It works once.",
    fields: [{ name: "code", label: "Recovery code" }],
    submit: "Sign in",
    alternative: "Use the authenticator app",
  },
};

// Whether the person got in: they may give up as well.
export async function answerChallenge({ mfa_token: token }) {
  let method = "totp";
  for (;;) {
    const given = await ask(CODES[method], ({ code }) => api.answerChallenge({ mfa_token: token, method, code }));
    if (given !== "alternative") return Boolean(given);
    method = method === "totp" ? "recovery_code" : "totp";
  }
}

// Some things need a sign-in of the last five minutes: asks for the proof, and does it again.
export async function freshly(mfaEnabled, act) {
  try {
    return await act();
  } catch (problem) {
    if (problem.code !== "step_up_required") throw problem;
  }
  const proof = mfaEnabled
    ? await ask({ ...CODES.totp, title: "Is it you?", submit: "Go on", alternative: "" },
      ({ code }) => api.stepUp({ method: "totp", code }))
    : await ask({
      title: "Is it you?",
      text: "It is a while since you signed in, and this is for you alone.",
      fields: [{ name: "password", label: "Password", type: "password", autocomplete: "current-password" }],
      submit: "Go on",
    }, (form) => api.stepUp(form));
  return proof ? act() : null;
}

// `why`: for people who did not ask for it.
export async function setUp(why = "") {
  const enrolment = await freshly(false, api.enrolTotp);
  if (!enrolment) return false;
  const confirmed = await ask({
    title: "Add an authenticator app",
    text: why,
    shown: showSecret(enrolment),
    fields: [{ name: "code", label: "The code that the app shows then", autocomplete: "one-time-code", inputmode: "numeric" }],
    submit: "Turn it on",
  }, api.confirmTotp);
  if (!confirmed) return false;
  await keepCodes(confirmed.recovery_codes);
  return true;
}

export async function renewCodes() {
  const made = await freshly(true, api.renewRecoveryCodes);
  if (made) await keepCodes(made.recovery_codes);
}

// Shown this once: the service keeps no more than their hashes.
const keepCodes = (codes) => ask({
  title: "Your recovery codes",
  text: "Keep them where your phone is not. Each signs you in once when the app is gone. They are not shown again.",
  shown: showCodes(codes),
  submit: "I have kept them",
  done: true,
}, () => true);
