// The browser's part of passkeys: the device keeps them, a page only asks for them.

import { explain, passkeySignInOptions } from "./api.js";

const ADDRESS = /^(\d+\.){3}\d+$|^\[/;
const REASONS = {
  NotAllowedError: "Nothing happened: you said no, or took too long.",
  InvalidStateError: "This device has a passkey of yours already.",
  step_up_required: "For this, sign out and in again first: it needs a sign-in of the last five minutes.",
  SecurityError: "This page’s address is not one that the service’s passkeys belong to.",
};

export const isAddress = () => ADDRESS.test(location.hostname);
export const isSupported = () => Boolean(globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON) && !isAddress();

const explainPasskey = (problem) => REASONS[problem.name] ?? REASONS[problem.code] ?? explain(problem);

// From the options that the service gave to what it takes.
export async function create({ options }) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return (await navigator.credentials.create({ publicKey })).toJSON();
}

export async function get() {
  const { options } = await passkeySignInOptions();
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return (await navigator.credentials.get({ publicKey })).toJSON();
}

// One thing at a time, and what goes wrong is said: the browser's own dialog is open meanwhile.
export async function busy(button, act, say) {
  button.disabled = true;
  try {
    await act();
  } catch (problem) {
    say(explainPasskey(problem));
  } finally {
    button.disabled = false;
  }
}
