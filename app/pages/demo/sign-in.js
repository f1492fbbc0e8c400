// Register and sign in: one form in two moods, with each complaint of the service beside the field it is about.

import * as api from "./api.js";
import { byId } from "./shared/dom.js";
import { answerChallenge } from "./shared/second-factor.js";
import { sayField } from "./shared/texts.js";

const FIELDS = ["email", "password", "display_name"];
const form = byId("sign-in-form");
const MOODS = {
  register: { heading: "Create your account", submit: "Create account", password: "new-password" },
  login: { heading: "Welcome back", submit: "Sign in", password: "current-password" },
};

const mood = () => form.elements.mode.value;

function complain(field, text) {
  const input = byId(field);
  byId(`${field}-error`).textContent = text;
  if (text) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

function forgive() {
  FIELDS.forEach((field) => complain(field, ""));
  byId("form-error").textContent = "";
}

function change() {
  const { heading, submit, password } = MOODS[mood()];
  byId("sign-in-heading").textContent = heading;
  byId("submit").textContent = submit;
  byId("password").autocomplete = password;
  byId("display-name-field").hidden = mood() === "login";
  byId("password-hint").hidden = mood() === "login";
  byId("forgot").hidden = mood() === "register";
  forgive();
}

function show(problem) {
  const general = [];
  for (const error of problem.errors) {
    const field = error.location.split(".").pop();
    if (FIELDS.includes(field)) complain(field, sayField(error));
    else general.push(sayField(error));
  }
  // When every complaint stands beside its field, the general sentence would only repeat them.
  if (!problem.errors.length) general.push(api.explain(problem));
  byId("form-error").textContent = general.join(" ");
  (form.querySelector("[aria-invalid]") ?? byId("email")).focus();
}

const platform = () => navigator.userAgentData?.platform || navigator.platform || "a browser";

export const deviceName = () => `Sample page on ${platform()}`.slice(0, 100);

async function registerAndLogIn() {
  const [email, password, name] = FIELDS.map((field) => byId(field).value);
  if (mood() === "register") {
    const body = { email, password };
    if (name.trim()) body.display_name = name.trim();
    const { status } = await api.register(body);
    // The account exists from here on: if the sign-in fails, the next try is a sign-in.
    switchTo("login");
    if (status === "verification_required") return false;
  }
  const result = await api.logIn({ email, password, device_name: deviceName() });
  if (result.mfa && !(await answerChallenge(result.mfa))) throw new api.Problem({ detail: "Without the code nobody gets in." });
  return true;
}

async function forgot() {
  forgive();
  const email = byId("email").value;
  if (!email) return complain("email", "Type your address first.");
  await api.requestReset(email);
  setNotice("If this address has an account, a mail with a link is on its way. The link is good for ten minutes.");
}

export function setNotice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function switchTo(mode) {
  form.elements.mode.value = mode;
  change();
}

export function wireSignIn(onSignedIn) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    forgive();
    setNotice("");
    byId("submit").disabled = true;
    try {
      if (await registerAndLogIn()) {
        await onSignedIn();
        form.reset();
        switchTo("login");
      } else {
        setNotice("Almost there: open the link in the mail we sent you, then sign in.");
      }
    } catch (problem) {
      show(problem instanceof api.Problem ? problem : new api.Problem({ detail: problem.message }));
    } finally {
      byId("submit").disabled = false;
    }
  });
  const complaining = (act) => () => act().catch(show);
  byId("forgot").addEventListener("click", complaining(forgot));
  api.takesGuests().then((taken) => { byId("guest").hidden = !taken; }, () => {});
  byId("guest").addEventListener("click", complaining(async () => {
    await api.beGuest({ device_name: deviceName() });
    await onSignedIn();
  }));
  form.querySelectorAll("[name=mode]").forEach((radio) => radio.addEventListener("change", change));
  byId("reveal").addEventListener("click", ({ currentTarget }) => {
    const hidden = byId("password").type === "password";
    byId("password").type = hidden ? "text" : "password";
    currentTarget.setAttribute("aria-label", hidden ? "Hide the password" : "Show the password");
    currentTarget.textContent = hidden ? "Hide" : "Show";
  });
  change();
}
