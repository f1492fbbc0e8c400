"""`/v1/admin/status`, `/settings`, `/signing-keys`, `/mails` and `/erasures`: the service itself, for its staff."""

from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from app.admin import configuration, mails, status
from app.admin.mails import State
from app.admin.status import Queue
from app.api.admin.users import Reason, ReasonRequest, act_of
from app.api.provided import ChecksDep, HealthDep, KeyringDep, PlatformDep, ProvidersDep
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
    """`count` stops at 1,000; then `is_more` is true."""

    count: int
    is_more: bool
    oldest_at: Timestamp | None


class PartHealth(ResponseModel):
    """`state` is `ok`, or the code of the problem."""

    part: str
    state: str


class RoleState(ResponseModel):
    """What was last written into a role to deny revoked credentials."""

    role_arn: str
    written_at: Timestamp | None
    failures: int
    """Failed writes in a row."""


class RevocationState(ResponseModel):
    mode: RevocationMode
    waiting: WaitingCount
    """Revocations that the engine has not been told; with `off` it is told none."""
    roles: list[RoleState]


class CanaryState(ResponseModel):
    is_on: bool
    result: CanaryResult | None
    passed_at: Timestamp | None
    next_try_at: Timestamp | None


class ProviderView(ResponseModel):
    """An OpenID provider, as this process last saw it."""

    name: str
    issuer: str
    client_ids: list[str]
    state: ProviderState


class ServiceStatus(ResponseModel):
    health: list[PartHealth]
    mails_waiting: WaitingCount
    mails_failed: WaitingCount
    erasures: WaitingCount
    revocation: RevocationState
    canary: CanaryState
    providers: list[ProviderView]


class FindingView(ResponseModel):
    """What one check found. No text holds a secret."""

    name: str
    state: FindingState
    text: str
    repair: str
    """What the operator can do; empty where nothing is wrong."""


class FindingPage(ResponseModel):
    items: list[FindingView]
    next_cursor: str | None


class SettingView(ResponseModel):
    name: str
    value: str | None
    """Null where it is not shown, and where it is empty."""
    is_shown: bool
    is_set: bool
    is_default: bool
    description: str


class SettingPage(ResponseModel):
    items: list[SettingView]
    next_cursor: str | None


class SigningKeyView(ResponseModel):
    kid: str
    purpose: KeyPurpose
    state: KeyState
    """`published`: it signs soon. `retiring`: it signs no more, and is still trusted."""
    created_at: Timestamp
    signs_from: Timestamp
    retires_at: Timestamp | None


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
    created_at: Timestamp
    next_try_at: Timestamp | None
    attempts: int
    failed_at: Timestamp | None
    can_retry: bool
    """False for a mail that was given up and carried a link, which is gone."""


class OutboxMailPage(ResponseModel):
    items: list[OutboxMailView]
    next_cursor: str | None


class ErasureView(ResponseModel):
    user_id: UUID
    requested_at: Timestamp
    next_try_at: Timestamp
    attempts: int
    deleted_objects: int


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
    """The keys that sign access tokens, and the identity tokens for STS; public parts are in the JWKS."""
    return await _signing_keys(platform)


@router.post("/signing-keys/rotate")
async def rotate_signing_key(
    platform: PlatformDep, keyring: KeyringDep, origin: OriginDep, actor: SteppedUpAdmin, body: RotateSigningKeyRequest
) -> SigningKeyPage:
    """Adds a key, which signs after it has been published for ten minutes. Older keys stay trusted until their last
    token expires. The caller has signed in, or stepped up, within five minutes.
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
    return await _signing_keys(platform)


@router.get("/mails")
async def list_outbox_mails(
    platform: PlatformDep,
    _actor: Support,
    *,
    state: Annotated[State, Query(description="`failed`: sending was given up.")] = "waiting",
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
    rows = [row for purpose in ("access", "sts") for row in await platform.database.read(keys.list_keys, purpose)]
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
