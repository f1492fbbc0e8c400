"""`/v1/admin/status`, `/settings`, `/signing-keys`, `/mails` and `/erasures`: the service itself, for its staff."""

from datetime import timedelta
from typing import Annotated, Literal, get_args
from uuid import UUID

from fastapi import APIRouter, Query

from app.admin import configuration, mails, status
from app.admin.mails import State
from app.admin.status import Queue
from app.api.admin.users import Reason, ReasonRequest, act_of
from app.api.provided import (
    AssertionsDep,
    ChecksDep,
    HealthDep,
    IdentityTokensDep,
    KeyringDep,
    PlatformDep,
    ProvidersDep,
)
from app.auth import keys
from app.auth.keys import KeyPurpose
from app.auth.providers import ProviderState
from app.auth.tokens import ACCESS_TOKEN_TTL
from app.http.guards import Admin, OriginDep, SteppedUpAdmin, Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, RequestModel, ResponseModel, Timestamp
from app.records.models import OutboxMail, SigningKey
from app.upkeep.checks import State as FindingState
from app.vending.identity_token import TTL as IDENTITY_TOKEN_TTL

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)

KeyState = Literal["published", "signs", "retiring", "retired"]
CanaryResult = Literal["passed", "failed", "broken"]
RevocationMode = Literal["off", "role_policy"]


class WaitingCount(ResponseModel):
    count: int
    """How many there are, 1,000 at most."""
    is_more: bool
    """Whether there are more than `count`."""
    oldest_at: Timestamp | None
    """Since when the oldest has been there. Null if there is none."""


class PartHealth(ResponseModel):
    part: str
    """What was checked: `database`, `keys` or `engine`."""
    state: str
    """`ok`, or the code of the problem."""


class RoleState(ResponseModel):
    """What was last written into a role to deny revoked credentials."""

    role_arn: str
    """The ARN of the role."""
    written_at: Timestamp | None
    """When it was last written. Null if never."""
    failures: int
    """How many writes in a row have failed."""


class RevocationState(ResponseModel):
    mode: RevocationMode
    """`role_policy`: the engine is told of revocations by the role's policies. `off`: it is told of none."""
    waiting: WaitingCount
    """Revocations that the engine has not been told. With `off` it is told none."""
    roles: list[RoleState]
    """The roles whose policies tell the engine what is revoked."""


class CanaryState(ResponseModel):
    is_on: bool
    """Whether the canary runs. It is the job that tries whether users are kept apart."""
    result: CanaryResult | None
    """How it last ended: `passed`, `failed` (it could not tell), or `broken` (one user reached another's prefix). Null
    before the first run."""
    passed_at: Timestamp | None
    """When it last passed. Null if never."""
    next_try_at: Timestamp | None
    """When it runs next. Null before the first run."""


class ProviderView(ResponseModel):
    """An OpenID provider, as this process last saw it."""

    name: str
    """The name of the provider as the operator set it up, such as `apple`."""
    issuer: str
    """The issuer of the provider's ID tokens, their `iss`."""
    client_ids: list[str]
    """The app's ids at the provider. An ID token has to be for one of them."""
    state: ProviderState
    """`answers`, `silent` (its keys could not be fetched), `misconfigured` (its settings are wrong), or
    `not_asked_yet`."""


class ServiceStatus(ResponseModel):
    health: list[PartHealth]
    """What `/readyz` checks."""
    mails_waiting: WaitingCount
    """The mails that wait to be sent."""
    mails_failed: WaitingCount
    """The mails that were given up."""
    erasures: WaitingCount
    """The erased accounts whose objects are still being deleted."""
    revocation: RevocationState
    """How the engine learns of revocations."""
    canary: CanaryState
    """What the canary last found."""
    providers: list[ProviderView]
    """The OpenID providers."""


class FindingView(ResponseModel):
    """What one check found. No text holds a secret."""

    name: str
    """What was looked at, such as `database`."""
    state: FindingState
    """`ok`, a `warning`, or `failed`."""
    text: str
    """What was found."""
    repair: str
    """What the operator can do. Empty where nothing is wrong."""


class FindingPage(ResponseModel):
    items: list[FindingView]
    next_cursor: str | None


class SettingView(ResponseModel):
    name: str
    """The name of the setting as a variable of the environment."""
    value: str | None
    """The value as text. Null where it is not shown, and where it is empty."""
    is_shown: bool
    """Whether the value is shown. What may be a secret is not."""
    is_set: bool
    """Whether it has a value, by the operator or by default."""
    is_default: bool
    """Whether the operator has not set it."""
    description: str
    """What the setting is."""


class SettingPage(ResponseModel):
    items: list[SettingView]
    next_cursor: str | None


class SigningKeyView(ResponseModel):
    kid: str
    purpose: KeyPurpose
    state: KeyState
    """`published`: it signs soon. `signs`: it signs now. `retiring`: it signs no more, and is still trusted. `retired`:
    it is trusted no more."""
    created_at: Timestamp
    signs_from: Timestamp
    """When it begins to sign."""
    retires_at: Timestamp | None
    """When it stops being trusted. Null while no newer key was added."""


class SigningKeyPage(ResponseModel):
    items: list[SigningKeyView]
    next_cursor: str | None


class RotateSigningKeyRequest(RequestModel):
    purpose: KeyPurpose = "access"
    at_once: bool = False
    """For a stolen key: no other key is trusted from now on, and every app has to refresh."""
    reason: Reason


class OutboxMailView(ResponseModel):
    mail_id: UUID
    kind: str
    recipient: str
    user_id: UUID | None
    """The id of the user that the mail is about. Null if it is about no account."""
    created_at: Timestamp
    next_try_at: Timestamp | None
    """When it is tried next. Null for a mail that was given up."""
    attempts: int
    failed_at: Timestamp | None
    """When it was given up. Null while it waits."""
    can_retry: bool
    """Whether it can be sent again. False for a mail that was given up and carried a link, which is gone."""


class OutboxMailPage(ResponseModel):
    items: list[OutboxMailView]
    next_cursor: str | None


class ErasureView(ResponseModel):
    user_id: UUID
    requested_at: Timestamp
    """When the account was erased."""
    next_try_at: Timestamp
    """When the deletion goes on, at the latest."""
    attempts: int
    deleted_objects: int
    """How many objects were deleted so far."""


class ErasurePage(ResponseModel):
    items: list[ErasureView]
    next_cursor: str | None


@router.get("/status")
async def get_service_status(
    platform: PlatformDep, checks: HealthDep, providers: ProvidersDep, _actor: Support
) -> ServiceStatus:
    """How the service is: what `/readyz` checks, what waits, and what revocation and canary last did."""
    health = await checks.check()
    found = await platform.database.read(status.read)
    canary = found.canary
    return ServiceStatus(
        health=[PartHealth(part=part, state=state) for part, state in health.items()],
        mails_waiting=_queue(found.mails_waiting),
        mails_failed=_queue(found.mails_failed),
        erasures=_queue(found.erasures),
        revocation=RevocationState(
            mode=platform.settings.revocation,
            waiting=_queue(found.revocations),
            roles=[
                RoleState(role_arn=role.role_arn, written_at=role.written_at, failures=role.failures)
                for role in found.roles
            ],
        ),
        canary=CanaryState(
            is_on=platform.settings.canary == "on",
            result=canary.result if canary else None,
            passed_at=canary.passed_at if canary else None,
            next_try_at=canary.next_try_at if canary else None,
        ),
        providers=[
            ProviderView(name=one.name, issuer=one.issuer, client_ids=sorted(one.client_ids), state=one.state)
            for one in providers.list_all()
        ],
    )


@router.get("/findings")
async def list_findings(checks: ChecksDep, _actor: Admin) -> FindingPage:
    """What `tokenvend doctor` finds without a vend, in the order in which to repair it. Kept for ten seconds."""
    found = await checks.recent()
    items = [FindingView.model_validate(one, from_attributes=True) for one in found]
    return FindingPage(items=items, next_cursor=None)


@router.get("/settings")
async def list_settings(platform: PlatformDep, _actor: Admin) -> SettingPage:
    """The settings as they are now. Of what may be a secret, only whether it is set."""
    shown = configuration.list_settings(platform.settings)
    return SettingPage(items=[SettingView.model_validate(one, from_attributes=True) for one in shown], next_cursor=None)


@router.get("/signing-keys")
async def list_signing_keys(platform: PlatformDep, _actor: Support) -> SigningKeyPage:
    """The keys that sign access tokens, and the identity tokens or assertions for STS; public parts are published."""
    return await _signing_keys(platform)


@router.post("/signing-keys/rotate")
async def rotate_signing_key(
    platform: PlatformDep,
    keyring: KeyringDep,
    identity_tokens: IdentityTokensDep,
    assertions: AssertionsDep,
    origin: OriginDep,
    *,
    actor: SteppedUpAdmin,
    body: RotateSigningKeyRequest,
) -> SigningKeyPage:
    """Adds a key, which signs after it has been published for ten minutes. Older keys stay trusted until their last
    token expires. The caller has signed in, or stepped up, within five minutes.

    A key for assertions (`saml`) signs a week later. Upload the metadata to the SAML provider of IAM before then, and
    after `at_once` now: until IAM has it, nobody gets credentials.
    """
    await platform.database.write(
        keys.rotate,
        origin,
        platform.vault,
        body.purpose,
        platform.clock.now(),
        at_once=body.at_once,
        token_ttl=timedelta(seconds=ACCESS_TOKEN_TTL if body.purpose == "access" else IDENTITY_TOKEN_TTL),
        actor=actor,
        reason=body.reason,
    )
    await keyring.try_load()
    if identity_tokens is not None:
        await identity_tokens.keyring.try_load()
    if assertions is not None:
        await assertions.keyring.try_load()
    return await _signing_keys(platform)


@router.get("/mails")
async def list_outbox_mails(
    platform: PlatformDep,
    _actor: Support,
    *,
    state: Annotated[
        State, Query(description="The mails that wait (`waiting`), or those that were given up (`failed`).")
    ] = "waiting",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> OutboxMailPage:
    """The mails that wait, or that were given up, newest first. Never their text or their links."""
    found, next_cursor = await platform.database.read(mails.list_in, state, limit=limit, cursor=cursor)
    return OutboxMailPage(items=[_mail(mail) for mail in found], next_cursor=next_cursor)


@router.post("/mails/{mail_id}/retry")
async def retry_outbox_mail(
    mail_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Support, body: ReasonRequest
) -> OutboxMailView:
    """Sends the mail as soon as possible. The link of a mail that was given up is gone, so such a mail is refused."""
    return _mail(await platform.database.write(mails.retry, act_of(platform, origin, actor, body.reason), mail_id))


@router.get("/erasures")
async def list_erasures(
    platform: PlatformDep, _actor: Support, limit: Limit = 50, cursor: Cursor = None
) -> ErasurePage:
    """The accounts whose objects are still being deleted, newest first."""
    found, next_cursor = await platform.database.read(status.list_erasures, limit=limit, cursor=cursor)
    items = [ErasureView.model_validate(one, from_attributes=True) for one in found]
    return ErasurePage(items=items, next_cursor=next_cursor)


async def _signing_keys(platform: PlatformDep) -> SigningKeyPage:
    now = platform.clock.now()
    rows = [row for purpose in get_args(KeyPurpose) for row in await platform.database.read(keys.list_keys, purpose)]
    newest: dict[str, SigningKey] = {row.purpose: row for row in rows if row.signs_from <= now}
    items = [_key(row, _state(row, newest, platform)) for row in reversed(rows)]
    return SigningKeyPage(items=items, next_cursor=None)


def _key(row: SigningKey, state: KeyState) -> SigningKeyView:
    return SigningKeyView(
        kid=row.kid,
        purpose=row.purpose,
        state=state,
        created_at=row.created_at,
        signs_from=row.signs_from,
        retires_at=row.retires_at,
    )


def _state(row: SigningKey, newest: dict[str, SigningKey], platform: PlatformDep) -> KeyState:
    now = platform.clock.now()
    if row.retires_at is not None and row.retires_at <= now:
        return "retired"
    if row.signs_from > now:
        return "published"
    return "signs" if newest[row.purpose].kid == row.kid else "retiring"


def _queue(queue: Queue) -> WaitingCount:
    return WaitingCount(count=queue.count, is_more=queue.is_more, oldest_at=queue.oldest_at)


def _mail(mail: OutboxMail) -> OutboxMailView:
    return OutboxMailView(
        mail_id=mail.id,
        kind=mail.kind,
        recipient=mail.recipient,
        user_id=mail.user_id,
        created_at=mail.created_at,
        next_try_at=None if mail.failed_at else mail.next_try_at,
        attempts=mail.attempts,
        failed_at=mail.failed_at,
        can_retry=mails.can_retry(mail),
    )
