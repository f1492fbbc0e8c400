// What audit events and their details are called, for people.

import { make } from "./element.js";
import { sayBytes } from "./shared/dom.js";

export const EVENTS = {
  "user.registered": "Registered",
  "user.created": "Administrator made from the command line",
  "user.invited": "Invited",
  "user.profile_changed": "Name changed",
  "user.role_changed": "Role changed",
  "user.quota_changed": "Quota changed",
  "user.disabled": "Disabled",
  "user.enabled": "Enabled",
  "user.unlocked": "Sign-in unlocked",
  "user.signed_out": "Signed out everywhere by staff",
  "user.note_added": "Note added",
  "user.note_removed": "Note removed",
  "user.exported": "Own data exported",
  "user.imported": "Imported",
  "users.import_started": "Import begun",
  "users.imported": "Import ended",
  "users.exported": "Users exported",
  "user.erasure_requested": "Account erased",
  "user.erased": "All objects deleted",
  "guest.created": "New guest",
  "guest.upgraded": "Guest became an account",
  "email.verification_requested": "Link to verify the address asked for",
  "email.verified": "Address verified",
  "email.change_requested": "Another address asked for",
  "email.changed": "Address changed",
  "password.reset_requested": "Password reset asked for",
  "password.reset": "Password reset",
  "password.changed": "Password changed",
  "password.asked": "Password asked for again",
  "password.migrated": "Password brought from elsewhere",
  "mfa.challenged": "Second factor asked for",
  "mfa.enabled": "Authenticator app added",
  "mfa.disabled": "Authenticator app removed",
  "mfa.reset": "Second factor reset by staff",
  "mfa.recovery_codes_made": "New recovery codes",
  "passkey.added": "Passkey added",
  "passkey.renamed": "Passkey renamed",
  "passkey.removed": "Passkey removed",
  "passkey.counter_fell": "Passkey perhaps copied",
  "identity.linked": "Outside identity linked",
  "identity.unlinked": "Outside identity unlinked",
  "identity.authorization_kept": "Authorization at a provider kept",
  "identity.authorization_revoked": "Authorization at a provider revoked",
  "session.stepped_up": "Confirmed who they are",
  "session.started": "Signed in",
  "session.refreshed": "Session renewed",
  "session.ended": "Signed out",
  "session.reuse_detected": "Refresh token used twice",
  "credential.issued": "Credential issued",
  "credential.revoked": "Credentials revoked",
  "credential.all_revoked": "Everybody’s credentials revoked",
  "quota.exceeded": "Quota reached",
  "downloads.signed": "Downloads by the CDN signed",
  "storage_events.subscribed": "Storage events subscribed to",
  "grant.created": "Folder shared",
  "grant.bound": "Invitation to a folder bound to an account",
  "grant.accepted": "Shared folder accepted",
  "grant.withdrawn": "Share withdrawn",
  "grant.left": "Shared folder left",
  "link.created": "Link made",
  "link.opened": "Link opened",
  "link.joined": "Somebody contributes by a link",
  "link.withdrawn": "Link withdrawn",
  "link.reported": "Link reported",
  "access.refused": "Call refused",
  "isolation.broken": "Isolation broken",
  "signing_key.created": "New signing key",
  "signing_key.named": "Key of the CDN in use",
  "secret_key.switched": "Secret key changed",
  "secret_key.moved": "Moved to the new secret key",
  "mail.retried": "Mail sent again",
  "event.redelivered": "Event sent again",
  "webhook.tested": "Event of a test sent",
  "audit.exported": "Audit exported",
  "audit.pruned": "Old audit events deleted",
};

const NAMES = {
  mfa: "second factor", dry_run: "checked only", former_role: "role before", former_bytes: "quota before", bytes: "quota",
  with_hashes: "with password hashes", created: "new", existing: "known already", of_actor: "of who did it", of_subject: "of about whom",
};

const REASONS = {
  mfa_enabled: "an authenticator app was added", mfa_disabled: "the authenticator app was removed",
  password_changed: "the password was changed", password_reset: "the password was reset", own_wish: "the user’s own wish",
  erased: "the account is erased", lost_guest: "a guest whose device is lost", wrong_code: "wrong code",
  invalid_token: "the link is spent or unknown", invalid_passkey: "unknown passkey", last_sign_in: "the last way to sign in",
  invalid_identity_token: "the provider’s answer is not valid", identity_taken: "another account has the identity",
  too_many_guesses: "too many wrong guesses",
  invalid_login: "wrong address or password", invalid_mfa_code: "wrong code", wrong_password: "wrong password",
  disabled: "the account is disabled", email_not_verified: "the address is not verified", forbidden: "the role does not allow it",
  mfa_required: "a second factor is missing", last_admin: "the last administrator", logout: "signed out on the device",
  sign_out: "signed out", administrator: "signed out by staff", too_many: "too many devices", reuse: "a refresh token was used twice",
  email_taken: "the address has an account", link_withdrawn: "the link was withdrawn", nothing_to_verify: "nothing to verify",
};

const yes = (value) => (["1", "true", "True"].includes(value) ? "yes" : "no");

const VALUES = {
  reason: (value) => REASONS[value] ?? value,
  mfa: yes, dry_run: yes, with_hashes: yes,
  bytes: (value) => sayBytes(Number(value)), former_bytes: (value) => sayBytes(Number(value)),
  import_id: (value) => make("a", { href: `#/users?import_id=${encodeURIComponent(value)}`, title: value, class: "mono" }, `${value.slice(0, 8)}…`),
};

export const sayEvent = (name) => EVENTS[name] ?? name;

export function detail({ name, value }) {
  const said = value === null ? "–" : (VALUES[name] ?? String)(value);
  return make("span", { class: "detail" }, make("b", {}, NAMES[name] ?? name.replaceAll("_", " ")), " ", said);
}
