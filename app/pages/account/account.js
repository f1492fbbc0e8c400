// A link of a mail, opened. Its token leaves the address bar at once, and is sent when the person says so: programs that
// open links in mails to look for viruses press no buttons.

import { sayField, TEXTS } from "./shared/texts.js";

const byId = (id) => document.getElementById(id);
const form = byId("form");
const password = byId("password");
const asked = byId("asked"); // of a page that wants the password only once the service asks for it
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);

const SPENT = "The link has expired or was used before. Ask for a new one in the app.";
const NO_PASSWORD =
  "The account has no password, so this page cannot confirm it. Open the link in the app, or choose a password there and ask for a new link.";
const OFFLINE = "The service cannot be reached. Are you online?";

function show(name) {
  for (const section of document.querySelectorAll("[data-state]")) section.hidden = section.dataset.state !== name;
  const heading = document.querySelector(`[data-state="${name}"] h1`);
  document.title = heading.textContent;
  if (name !== "ready") heading.focus();
}

function fail(reason) {
  byId("failed-reason").textContent = reason;
  show("failed");
}

function complain(general, aboutPassword = "") {
  byId("form-error").textContent = general;
  if (!password) return;
  byId("password-error").textContent = aboutPassword;
  if (aboutPassword) password.setAttribute("aria-invalid", "true");
  else password.removeAttribute("aria-invalid");
  if (aboutPassword) password.focus();
}

const wantsPassword = () => password && !asked?.hidden;

function askForPassword() {
  asked.hidden = false;
  byId("intro").hidden = true;
  byId("submit").textContent = asked.dataset.submit;
  password.focus();
}

async function confirm() {
  const body = wantsPassword() ? { token, [password.name]: password.value } : { token };
  const response = await fetch(form.dataset.confirm, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
  }).catch(() => null);
  if (!response) return complain(OFFLINE);
  if (response.ok) return show("done");
  const problem = await response.json().catch(() => ({}));
  if (problem.code === "account_password_required") return askForPassword();
  if (problem.code === "wrong_password") return complain("", asked?.dataset.wrong);
  if (problem.code === "account_session_required") return fail(NO_PASSWORD);
  if (response.status === 400 || (response.status === 422 && !wantsPassword())) return fail(SPENT);
  if (response.status === 409) return fail("Another account has this address by now.");
  if (response.status === 422) return complain("", problem.errors?.map(sayField).join(" ") || TEXTS[problem.code]);
  const wait = response.headers.get("Retry-After");
  return complain(`That did not work. Try again ${wait ? `in ${wait} seconds` : "later"}.`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (wantsPassword() && !password.value) return complain("", asked ? "Type the password." : "Choose a password.");
  complain("");
  byId("submit").disabled = true;
  try {
    await confirm();
  } finally {
    byId("submit").disabled = false;
  }
});

byId("reveal")?.addEventListener("click", ({ currentTarget }) => {
  const hidden = password.type === "password";
  password.type = hidden ? "text" : "password";
  currentTarget.setAttribute("aria-label", hidden ? "Hide the password" : "Show the password");
  currentTarget.textContent = hidden ? "Hide" : "Show";
});

// The same tab may be given another link: only the fragment differs, so nothing is loaded anew by itself.
addEventListener("hashchange", () => location.reload());

if (token) show("ready");
else fail("The link is not complete. Open it from the mail again, or copy all of it.");
