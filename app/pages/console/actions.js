// What may be done to a user: each with a reason and a question first, which keeps what was typed if the service refuses.

import * as api from "./api.js";
import { make } from "./element.js";
import { announce } from "./shared/dom.js";
import { ask } from "./shared/question.js";
import { freshly } from "./shared/second-factor.js";

export const REASON = { name: "reason", label: "Reason", hint: "It stands in the audit, beside your name.", maxlength: 500 };
const MEGABYTE = 1_000_000;
const by = (verb) => (user, { reason }) => api.actOnUser(user.id, verb, reason);
// What the pages' own texts say to the user whose account it is.
const FOR_STAFF = {
  email_taken: "Another account has this e-mail address.",
  last_sign_in: "This is the user’s last way to sign in, so it stays.",
};
let me = null;

export const setActor = (profile) => { me = profile; };

export const isAdmin = () => me?.role === "admin";

const ACTIONS = [
  {
    id: "send-reset", label: "Send password reset", fits: (user) => user.email && user.status === "active", forSupport: true,
    title: "Send a password reset?", text: "A mail with a link, good for ten minutes, goes to the stored address.",
    submit: "Send the mail", run: by("send-password-reset"), done: "The mail is on its way.",
  },
  {
    id: "send-verification", label: "Send verification", forSupport: true,
    fits: (user) => user.email && user.status === "active" && !user.email_verified,
    title: "Send the verification mail again?", text: "A mail with a link, good for 24 hours, goes to the stored address.",
    submit: "Send the mail", run: by("send-verification"), done: "The mail is on its way.",
  },
  {
    id: "verify-email", label: "Verify e-mail by hand", others: true,
    fits: (user) => user.email && user.status === "active" && !user.email_verified,
    title: "Verify this address by hand?", text: "Do this only if you know that the address belongs to this person. If several people registered it, the password is removed, and the user chooses one by a reset.",
    submit: "Verify", run: by("verify-email"), done: "The address is verified.",
  },
  {
    id: "change-email", label: "Change e-mail", others: true, fits: (user) => user.email && user.role === "user",
    fields: () => [{ name: "new_email", label: "New e-mail", type: "email", autocomplete: "off" }, REASON],
    title: "Change the e-mail address?", text: "The account has the new address at once. A mail asks the new address to verify itself, and a mail tells the old one. Be sure of the person who asked.",
    submit: "Change it", run: (user, { new_email: email, reason }) => api.changeEmail(user.id, { new_email: email.trim(), reason }), done: "The address is changed.",
  },
  {
    // Also where no lock shows: where limits are in memory, it may be in another process.
    id: "unlock", label: "Unlock sign-in", fits: (user) => user.email && user.status === "active", forSupport: true,
    title: "Unlock the sign-in?", text: "Wrong passwords and codes that were tried until now count no more. Whoever tries them can go on, so be sure that the owner has a good password.",
    submit: "Unlock", run: by("unlock"), done: "The sign-in is unlocked.",
  },
  {
    id: "sign-out-user", label: "Sign out everywhere", forSupport: true,
    title: "Sign out everywhere?", text: "All devices are signed out at once. A guest, who has no other way in, loses the account.",
    submit: "Sign out", run: by("sign-out"), done: "All devices are signed out.",
  },
  {
    id: "revoke", label: "Revoke credentials", danger: true,
    title: "Revoke the live credentials?", text: "The keys that are out stop working once the storage engine is told, or else when they expire. Devices stay signed in and fetch new ones.",
    submit: "Revoke", run: by("revoke-credentials"), done: "The credentials are being revoked.",
  },
  {
    id: "rename", label: "Change name", fields: (user) => [{ name: "display_name", label: "Name", value: user.display_name ?? "", hint: "Empty: none.", maxlength: 100, required: false }, REASON],
    title: "Change the name", submit: "Save", done: "The name is changed.",
    run: (user, { display_name: name, reason }) => api.changeUser(user.id, { display_name: name.trim() || null, ...(reason.trim() ? { reason } : {}) }),
  },
  {
    id: "change-role", label: "Change role",
    fields: (user) => [{ name: "role", label: "Role", value: user.role, options: [["user", "User"], ["support", "Support"], ["admin", "Admin"]] }, REASON],
    title: "Change the role", text: "It counts from the next request on. Support reads, signs out, unlocks and sends resets; an administrator does everything on this page.",
    submit: "Change it", run: (user, { role, reason }) => api.changeUser(user.id, { role, reason }), done: "The role is changed.",
  },
  {
    id: "change-quota", label: "Change quota",
    fields: (user) => [{
      name: "quota", label: "Quota in MB", value: user.quota_bytes === null ? "" : String(user.quota_bytes / MEGABYTE),
      hint: "Empty: that of everybody. 0: nothing may be uploaded.", inputmode: "decimal", required: false,
    }, REASON],
    title: "Change the quota", text: "It counts at once. Who stores as much or more looks and deletes, and uploads nothing.",
    submit: "Change it", run: (user, { quota, reason }) => api.changeUser(user.id, { quota_bytes: readQuota(quota), reason }), done: "The quota is changed.",
  },
  {
    id: "reset-mfa", label: "Reset second factor", fits: (user) => user.mfa_enabled, danger: true,
    title: "Reset the second factor?", text: "Authenticator app and recovery codes are gone, all devices are signed out, and a mail tells the user. Be sure of who asked.",
    submit: "Reset", run: by("reset-mfa"), done: "The second factor is reset.",
  },
  {
    id: "disable", label: "Disable", fits: (user) => user.status === "active", danger: true,
    title: "Disable this user?", text: "They are signed out and kept out, from their next request on. Keys that are out stop working once the storage engine is told, or else when they expire.",
    submit: "Disable", run: by("disable"), done: "The user is disabled.",
  },
  {
    id: "enable", label: "Enable", fits: (user) => user.status === "disabled",
    title: "Enable this user?", text: "They can sign in again.", submit: "Enable", run: by("enable"), done: "The user is enabled.",
  },
  {
    id: "erase-user", label: "Erase", danger: true,
    fields: (user) => [{ name: "confirmation", label: `Type ${proof(user)} to confirm`, autocomplete: "off" }, REASON],
    title: "Erase this account for good?", text: "The account is gone at once and its pictures shortly after. Nothing brings them back.",
    submit: "Erase for good", done: "The account is erased.",
    run: (user, { confirmation, reason }) => {
      if (confirmation.trim() !== proof(user)) throw new api.Problem({ detail: `That is not ${proof(user)}: nothing was erased.` });
      return api.eraseUser(user.id, reason);
    },
  },
];

function readQuota(text) {
  const given = text.trim().replace(",", ".");
  if (given === "") return null;
  if (!/^\d+(\.\d+)?$/.test(given)) throw new api.Problem({ detail: "A quota is a number, such as 500 or 1.5." });
  return Math.round(Number(given) * MEGABYTE);
}

const proof = (user) => user.email ?? "erase";

// Asks, and does it; where that needs a sign-in of the last minutes, asks for one and does it again.
export async function perform(question, act) {
  let answers = null;
  const done = await ask(question, async (given) => {
    try {
      return await act(given);
    } catch (problem) {
      if (problem.code !== "step_up_required") throw Object.assign(problem, { message: FOR_STAFF[problem.code] ?? problem.message });
      answers = given;
      return true;
    }
  });
  return answers ? freshly(me.mfa_enabled, async () => (await act(answers)) ?? true) : done;
}

function requireReason(act) {
  return (answers) => {
    if ("reason" in answers && !answers.reason.trim()) throw new api.Problem({ detail: "Say why: the reason stands in the audit." });
    return act(answers);
  };
}

export function actOn(user, id) {
  const action = ACTIONS.find((one) => one.id === id);
  const { title, text, submit, danger, fields, run } = action;
  return perform({ title, text, submit, danger, fields: fields?.(user) ?? [REASON] }, requireReason((answers) => run(user, answers)))
    .then((done) => {
      if (done) announce(action.done);
      return Boolean(done);
    });
}

// Support does less, and nothing to administrators.
const allowed = (action, user) =>
  (isAdmin() || (action.forSupport && user.role !== "admin")) && !(action.others && user.id === me.id);

export const performWithReason = ({ fields = [], ...question }, act) =>
  perform({ ...question, fields: [...fields, REASON] }, requireReason(act));

// A button in a row of a table that ends one thing of the user, after a question.
export function makeEnding({ label, title, text, submit, done, name, calm = false }, end, onDone) {
  const act = async ({ reason }) => (await end(reason)) ?? true;
  const ask = () => performWithReason({ title, text, submit, danger: !calm }, act).then((is) => {
    if (!is) return;
    announce(done);
    onDone();
  }, (problem) => announce(api.explain(problem)));
  return make("button", { type: "button", class: calm ? "small" : "danger small", "aria-label": `${label}: ${name}`, onclick: ask }, label);
}

export const writeNote = (user) => perform({
  title: "Add a note",
  text: "Staff see it. The user can read it in the export of their account, and it is erased with the account.",
  fields: [{ name: "note", label: "Note", rows: 5, maxlength: 1000 }],
  submit: "Add it",
}, ({ note }) => {
  if (!note.trim()) throw new api.Problem({ detail: "Write something first." });
  return api.addNote(user.id, note.trim().replaceAll("\r\n", "\n"));
});

export function makeButtons(user, onDone) {
  if (user.status === "erased") return [];
  return ACTIONS.filter((action) => allowed(action, user) && (action.fits?.(user) ?? true)).map((action) =>
    make("button", {
      type: "button",
      class: action.danger ? "danger" : "",
      "data-action": action.id,
      onclick: () => actOn(user, action.id).then((done) => done && onDone(action.id), (problem) => announce(api.explain(problem))),
    }, action.label));
}
