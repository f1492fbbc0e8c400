"""The catalogue of RFC 9457 problem codes: one exception for each refusal of this service.

Rules raise them, and only the package `http` renders them. `detail` is public. It never holds a value that a caller
sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One wrong member of a request: its location, a stable code and a sentence. It never holds the value."""

    location: str
    code: str
    message: str


class Problem(Exception):
    """Base of all refusals. `keeps_writes` commits the writes of the refused request, such as an audit row."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    default_detail: ClassVar[str] = ""
    keeps_writes: bool = False
    challenge: ClassVar[str | None] = None
    """The `error` of the `WWW-Authenticate` header (RFC 6750 §3). An empty string sends the header without `error`."""

    catalogue: ClassVar[dict[str, type["Problem"]]] = {}

    def __init_subclass__(cls) -> None:
        if cls.code in Problem.catalogue:
            raise TypeError(f"the problem code {cls.code} is taken")
        Problem.catalogue[cls.code] = cls

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: int | None = None,
        cause: str | None = None,
        keeps_writes: bool | None = None,
    ) -> None:
        self.detail = detail or self.default_detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.cause = cause
        """The internal cause: for the log, never for the caller."""
        if keeps_writes is not None:
            self.keeps_writes = keeps_writes
        super().__init__(self.detail)


class MalformedRequest(Problem):
    status, code, title = 400, "malformed_request", "The request could not be read"
    default_detail = "The request is not well-formed."


class HostNotAllowed(Problem):
    status, code, title = 400, "host_not_allowed", "Unknown host"
    default_detail = "This service does not answer for the host named in the request."


class OriginNotAllowed(Problem):
    status, code, title = 400, "origin_not_allowed", "Unknown origin"
    default_detail = "Pages of this origin may not call this service. TOKENVEND_CORS_ORIGINS says which ones may."


class InvalidStorageEvent(Problem):
    status, code, title = 400, "invalid_storage_event", "The message is not from the bucket's topic"
    default_detail = (
        "This address takes only messages of the configured SNS topic that SNS signed within the last hour."
    )


class UnreadableImport(Problem):
    status, code, title = 400, "unreadable_import", "The file could not be read"
    default_detail = "The file does not have the named format, or it ends too early."


class InvalidSingleUseToken(Problem):
    status, code, title = (400, "invalid_single_use_token", "The token is not valid")
    default_detail = "The link or token is unknown, has expired or was used before. Ask for a new one."


class Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", "Sign-in needed"
    default_detail = "Send an access token as `Authorization: Bearer …`."
    challenge = ""


class InvalidToken(Problem):
    status, code, title = 401, "invalid_token", "The access token is not valid"
    default_detail = "The access token is malformed, expired or revoked. Refresh the session or sign in again."
    challenge = "invalid_token"


class InvalidLogin(Problem):
    status, code, title = 401, "invalid_login", "Wrong e-mail address or password"
    default_detail = "No account has this e-mail address with this password."
    challenge = ""


class LinkPasswordRequired(Problem):
    status, code, title = 401, "link_password_required", "The link needs its password"
    default_detail = (
        "The person who made the link has set a password. Send it as `password`. None, or a wrong one, was sent."
    )
    challenge = ""


class InvalidRefreshToken(Problem):
    status, code, title = 401, "invalid_refresh_token", "The refresh token is not valid"
    default_detail = "The refresh token is unknown or expired, or its session has ended. Sign in again."
    challenge = "invalid_token"


class RefreshTokenReused(Problem):
    status, code, title = (401, "refresh_token_reused", "The refresh token was used before")
    default_detail = "A refresh token works once. The session was ended in case the token was stolen. Sign in again."
    challenge = "invalid_token"
    keeps_writes = True


class InvalidMfaToken(Problem):
    status, code, title = (401, "invalid_mfa_token", "The sign-in has to start again")
    default_detail = "The sign-in took longer than five minutes, or five wrong codes were sent. Start it again."
    challenge = ""


class InvalidMfaCode(Problem):
    status, code, title = (401, "invalid_mfa_code", "The code is not valid")
    default_detail = "The code is wrong, too old, or was used before."
    challenge = ""
    keeps_writes = True


class InvalidPasskey(Problem):
    status, code, title = 401, "invalid_passkey", "The passkey is not valid"
    default_detail = "The passkey is unknown, or it did not answer the options that this service gave."
    challenge = ""
    keeps_writes = True


class InvalidIdentityToken(Problem):
    status, code, title = (401, "invalid_identity_token", "The identity token is not valid")
    default_detail = "The provider's ID token is malformed or expired, is for another app, or lacks a fresh nonce."
    challenge = ""


class WrongPassword(Problem):
    status, code, title = 403, "wrong_password", "Wrong password"
    default_detail = "This is not the account's password."
    keeps_writes = True


class AccountPasswordRequired(Problem):
    status, code, title = 403, "account_password_required", "The account's password is required"
    default_detail = "Send the account's password as `password`, or send an access token of the account."


class AccountSessionRequired(Problem):
    status, code, title = 403, "account_session_required", "A session of the account is required"
    default_detail = "The account has no password to confirm with. Send an access token of the account."


class WrongCode(Problem):
    """A signed-in caller sent a wrong code. A 401 would make the app refresh a session that is still valid."""

    status, code, title = 403, "wrong_code", "Wrong code"
    default_detail = "The code is wrong, too old, or was used before. The session is still valid. Do not refresh it."
    keeps_writes = True


class EmailNotVerified(Problem):
    status, code, title = 403, "email_not_verified", "The e-mail address is not verified"
    default_detail = "Open the link in the verification mail, or ask for another mail. Then sign in again."
    keeps_writes = True


class SharingNotAllowed(Problem):
    status, code, title = 403, "sharing_not_allowed", "This account cannot share"
    default_detail = (
        "Guests cannot share, and neither can accounts whose e-mail address is unverified where verification is "
        "required."
    )


class GuestsOff(Problem):
    status, code, title = 403, "guests_off", "Guest accounts are turned off"
    default_detail = "This deployment creates no guest accounts. Ask the user to register or to sign in."


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "The role does not allow this"
    default_detail = "This call is for administrators. Support may use some of the administrators' calls."
    challenge = "insufficient_scope"


class StepUpRequired(Problem):
    status, code, title = 403, "step_up_required", "A fresh sign-in is needed"
    default_detail = (
        "Ask the user for the password or a code, send it to `/v1/auth/step-up`, and try again within five minutes."
    )


class LocalOnly(Problem):
    status, code, title = 403, "local_only", "Only this machine may call"
    default_detail = "In development this address answers only requests from the same machine, sent through no proxy."


class MfaRequired(Problem):
    status, code, title = 403, "mfa_required", "A second factor is needed"
    default_detail = "This needs a session that was opened, or stepped up, with a second factor."


class AccountDisabled(Problem):
    status, code, title = 403, "account_disabled", "The account is disabled"
    default_detail = "An administrator has disabled this account."
    keeps_writes = True


class QuotaExceeded(Problem):
    status, code, title = 403, "quota_exceeded", "The storage is full"
    default_detail = "The quota is used up. Delete something with the `access` `read_delete`. `read` works too."
    keeps_writes = True


class NotFound(Problem):
    status, code, title = 404, "not_found", "Not found"
    default_detail = "There is nothing here, or it is not yours."


class LinkNotFound(Problem):
    status, code, title = 404, "link_not_found", "The link leads nowhere"
    default_detail = "The link is wrong, has expired or was withdrawn. Ask the person who sent it for a new one."


class StorageEventsOff(Problem):
    status, code, title = 404, "storage_events_off", "Storage events are turned off"
    default_detail = "This deployment takes no storage events: TOKENVEND_STORAGE_EVENTS_TOPIC_ARN is not set."


class DecodingUnavailable(Problem):
    status, code, title = 404, "decoding_unavailable", "This engine encodes no messages"
    default_detail = "Only AWS sends encoded messages, and can decode them. This deployment has another engine."


class UploadTicketsOff(Problem):
    status, code, title = 404, "upload_tickets_off", "Upload tickets are turned off"
    default_detail = "This deployment issues no upload tickets. Upload with a credential of `POST /v1/credentials`."


class CdnOff(Problem):
    status, code, title = 404, "cdn_off", "Downloads by a CDN are turned off"
    default_detail = "This deployment has no CDN. Download with a credential of `POST /v1/credentials`."


class WebhookOff(Problem):
    status, code, title = 404, "webhook_off", "There is no server to tell of events"
    default_detail = "This deployment tells no server of events: TOKENVEND_WEBHOOK_URL is not set."


class MethodNotAllowed(Problem):
    status, code, title = 405, "method_not_allowed", "Method not allowed"
    default_detail = "This address does not support this method."


class RequestTimeout(Problem):
    status, code, title = 408, "request_timeout", "The request came too slowly"
    default_detail = "A request must arrive within 10 seconds."


class EmailTaken(Problem):
    status, code, title = 409, "email_taken", "The e-mail address is taken"
    default_detail = "An account with this e-mail address exists. Sign in instead."
    keeps_writes = True


class IdentityTaken(Problem):
    status, code, title = 409, "identity_taken", "The outside identity belongs to another account"
    default_detail = "Sign in with it, or remove it from the other account first."


class IdentityNotLinked(Problem):
    status, code, title = (409, "identity_not_linked", "An account with this e-mail address exists")
    default_detail = "Sign in to that account, then link this identity with `POST /v1/me/identities`."
    keeps_writes = True


class AlreadyEnabled(Problem):
    status, code, title = 409, "already_enabled", "An authenticator app is set up already"
    default_detail = "Remove the authenticator app before you set up another one."


class AlreadyRegistered(Problem):
    status, code, title = 409, "already_registered", "The account is not a guest account"
    default_detail = "Only a guest account can be upgraded. This account already has a way to sign in."


class ImportConflict(Problem):
    status, code, title = 409, "import_conflict", "The import id is in use already"
    default_detail = "An import with this id is running, or it had another file, source or kind. Choose a new id."


class LastAdmin(Problem):
    status, code, title = 409, "last_admin", "This is the last administrator"
    default_detail = "Make another user an administrator first."
    keeps_writes = True


class OwnAccount(Problem):
    status, code, title = 409, "own_account", "This is your own account"
    default_detail = "Change this in your own account, where you prove who you are, or ask another administrator."


class LastSignIn(Problem):
    status, code, title = 409, "last_sign_in", "This is the last way to sign in"
    default_detail = "Set a password, or add a passkey or an outside identity, before you remove this one."


class ContributorNotFound(Problem):
    status, code, title = 404, "contributor_not_found", "Nobody contributes with this token"
    default_detail = "The `contributor_token` is not of this link. Open the link with a `contributor_name` instead."


class TooManyLinks(Problem):
    status, code, title = 409, "too_many_links", "There are too many links"
    default_detail = "Withdraw some links first."


class TooManyContributors(Problem):
    status, code, title = 409, "too_many_contributors", "There are too many contributors"
    default_detail = "As many people contribute by this link as its owner lets. Look at the album without a name."


class GrantExists(Problem):
    status, code, title = 409, "grant_exists", "The folder is shared with this address already"
    default_detail = (
        "The existing grant ends at another time, or allows something else. Withdraw it first, then share the folder "
        "again."
    )


class TooManyGrants(Problem):
    status, code, title = 409, "too_many_grants", "Too many folders are shared"
    default_detail = "Withdraw some grants first, or share one folder that holds several of them."


class ContentTooLarge(Problem):
    status, code, title = 413, "content_too_large", "The request is too large"
    default_detail = "The body of a request may have up to 65,536 bytes. Only an import of users may have more."


class UnsupportedMediaType(Problem):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"
    default_detail = "Send the body as `Content-Type: application/json`."


class InvalidRequest(Problem):
    status, code, title = 422, "invalid_request", "The request is not valid"
    default_detail = "Some members of the request are missing, unknown or not allowed. See `errors`."


class WeakPassword(Problem):
    status, code, title = 422, "weak_password", "The password is too weak"
    default_detail = "Choose a password that is longer or harder to guess. See `errors`."


class InvalidPath(Problem):
    status, code, title = 422, "invalid_path", "The path is not valid"


class InvalidDuration(Problem):
    status, code, title = 422, "invalid_duration", "The duration is not valid"


class PolicyTooLarge(Problem):
    status, code, title = (422, "policy_too_large", "The session policy would be too large")
    default_detail = "STS does not take a session policy this large. Ask for a shorter `path`."


class InvalidSharedPart(Problem):
    status, code, title = 422, "invalid_shared_part", "There is no such part"
    default_detail = (
        "`shared_part` may be up to the `shared_parts` of an answer. Without `include_shared` it must be 1."
    )


class RateLimited(Problem):
    status, code, title = 429, "rate_limited", "Too many requests"
    default_detail = "Wait for as many seconds as `Retry-After` says."


class HeadersTooLarge(Problem):
    status, code, title = 431, "headers_too_large", "The header of the request is too large"
    default_detail = "The request line and the header fields may have up to 16,384 bytes together."


class InternalError(Problem):
    status, code, title = 500, "internal_error", "Something went wrong"
    default_detail = "The service failed. Report the request id to its operator."


class DatabaseUnavailable(Problem):
    status, code, title = 503, "database_unavailable", "The database does not answer"
    default_detail = "The service cannot reach its database at the moment. Try again."


class IdentityProviderUnavailable(Problem):
    status, code, title = (503, "identity_provider_unavailable", "The identity provider does not answer")
    default_detail = "The provider's keys cannot be read at the moment. Try again."


class IdentityProviderMisconfigured(Problem):
    status, code, title = 500, "identity_provider_misconfigured", "The identity provider is not set up"
    default_detail = "The operator must mend the provider's settings: `tokenvend doctor` says how. Do not try again."


class UserPoolUnavailable(Problem):
    status, code, title = 503, "user_pool_unavailable", "The old system does not answer"
    default_detail = "The password is not right here, and the old system does not answer at the moment. Try again."


class NotReady(Problem):
    status, code, title = 503, "not_ready", "The service is not ready"


class Overloaded(Problem):
    status, code, title = 503, "overloaded", "The service is busy"
    default_detail = "Too many passwords are waiting to be checked at the moment. Try again."


class KeysUnavailable(Problem):
    status, code, title = 503, "keys_unavailable", "No signing key"
    default_detail = "The service has no signing key to use at the moment. Try again."


class StsThrottled(Problem):
    status, code, title = 503, "sts_throttled", "The credentials engine limits its rate"
    default_detail = "The engine that issues credentials limits how many it issues. Try again."


class StsUnavailable(Problem):
    status, code, title = (503, "sts_unavailable", "The credentials engine does not answer")
    default_detail = "The engine that issues credentials does not answer at the moment. Try again."


class StsRefused(Problem):
    status, code, title = 503, "sts_refused", "The credentials engine refused"
    default_detail = "The engine refused to issue credentials. The operator of the service has to mend this."
