"""`/v1/me/export`: what is stored about a user, in their own hands."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy.orm import Session

from app.accounts import export
from app.accounts.export import LISTINGS, ExportTurn
from app.api.accounts.me import Profile, read_profile
from app.api.provided import ExportTurnDep, PlatformDep
from app.auth.sessions import Method
from app.http.guards import OriginDep, SteppedUp
from app.http.routes import JsonRoute
from app.http.wire import ResponseModel, Timestamp
from app.platform.process import Platform
from app.policy import session_policy
from app.policy.session_policy import Access
from app.records import users
from app.records.audit import Outcome
from app.records.models import (
    AuditEvent,
    Contribution,
    DeviceSession,
    Grant,
    Identity,
    IssuedCredential,
    Link,
    OutboxMail,
    Passkey,
    User,
    UserNote,
)
from app.sharing.giving import ShareAccess
from app.storage import quota
from app.vending import contributing, ledger

router = APIRouter(prefix="/v1/me", tags=["accounts"], route_class=JsonRoute)


class ExportedSession(ResponseModel):
    session_id: UUID
    device_name: str | None
    method: Method
    created_at: Timestamp
    """When the device signed in."""
    last_used_at: Timestamp
    last_address: str | None
    ended_at: Timestamp | None
    end_reason: str | None
    """Why the session ended, such as `sign_out`. Null if it has not been ended."""


class ExportedPasskey(ResponseModel):
    name: str
    """What the passkey is called in this service."""
    created_at: Timestamp
    last_used_at: Timestamp | None
    """When the user last signed in with it. Null if never."""


class ExportedIdentity(ResponseModel):
    provider: str
    issuer: str
    """The issuer of the provider's ID tokens, their `iss`."""
    subject: str
    """The user's id at the provider, the `sub` of its ID tokens."""
    email: str | None
    """The address that the provider last sent. Null if it sent none."""
    created_at: Timestamp
    last_used_at: Timestamp
    """When the user last signed in with it, or linked it."""


class ExportedMail(ResponseModel):
    kind: str
    recipient: str
    created_at: Timestamp
    sent_at: Timestamp | None
    """When it was sent. Null if it was not."""


class ExportedCredential(ResponseModel):
    credential_id: UUID
    session_id: UUID
    link_id: UUID | None
    access_key_id: str
    access: Access
    prefix: str
    shared_prefixes: list[str]
    write_prefixes: list[str]
    issued_at: Timestamp
    expiration: Timestamp
    revoked_at: Timestamp | None


class ExportedGrant(ResponseModel):
    """A folder that the user shares, or that somebody shares with the user."""

    grant_id: UUID
    by_the_user: bool
    """Whether it is the user who shares the folder. Otherwise somebody shares it with the user."""
    grantee_email: str | None
    """The address that the user wrote. Null where somebody else wrote it, or where an account of the two was erased."""
    prefix: str
    """Where the shared folder is in the bucket."""
    access: ShareAccess
    """What the grantee may do: `read` is to list the folder and download from it, `contribute` is also to write in a
    part of their own."""
    quota_bytes: int | None
    """How much the grantee may contribute. In bytes. Null if only the owner's quota decides."""
    created_at: Timestamp
    expires_at: Timestamp | None
    withdrawn_at: Timestamp | None
    accepted_at: Timestamp | None
    """When the user accepted it. Null where the user has not, and where it is the user who shares."""


class ExportedContribution(ResponseModel):
    """A place in a folder of somebody else in which the user could write."""

    prefix: str
    """Where the place is in the bucket. Its objects are the user's contributions."""
    created_at: Timestamp
    """When the user first got a credential that writes there."""


class ExportedLink(ResponseModel):
    """A link that the user made."""

    link_id: UUID
    label: str | None
    prefix: str
    """Where the folder of the link is in the bucket."""
    access: ShareAccess
    """What the link lets people do: `read` is to list the folder and download from it, `contribute` is also to write in
    a part of their own."""
    quota_bytes: int | None
    """How much all who have the link may contribute together. In bytes. Null if only the user's quota decides."""
    has_password: bool
    created_at: Timestamp
    expires_at: Annotated[Timestamp | None, Field(description="When the link ends by itself. Null if it does not.")]
    withdrawn_at: Annotated[Timestamp | None, Field(description="When the link was withdrawn. Null if it was not.")]
    opened_at: Timestamp | None


class ExportedNote(ResponseModel):
    """What the people who run the app wrote about the user. Who of them wrote it is not the user's to know."""

    text: str
    created_at: Timestamp


class ExportedEvent(ResponseModel):
    at: Timestamp
    event: str
    outcome: Outcome
    session_id: UUID | None
    """The id of the session that the event belongs to. Null if it belongs to none."""
    address: str | None
    """The IP address of the client, or the name of a job of the service. Null where somebody else did it: an
    administrator's address is not the user's to know."""
    by_the_user: bool
    """Whether the user did it."""


class ExportedUsage(ResponseModel):
    """As it was last counted."""

    bytes: int
    objects: int
    counted_at: Timestamp | None


class AccountExport(ResponseModel):
    """Everything that is stored about a user, except secrets and their hashes. The pictures are in the bucket."""

    exported_at: Timestamp
    """When the export began."""
    profile: Profile
    """The account, as `GET /v1/me` shows it."""
    guest: bool
    has_password: bool
    """Whether the account has a password."""
    recovery_codes_left: int
    """How many recovery codes have not been used."""
    quota_bytes: int | None
    """The quota that was set for this user. In bytes. Null if the operator's setting decides."""
    usage: ExportedUsage | None
    """What the user stores, as it was last counted. Null for users who are not counted."""
    sessions: list[ExportedSession]
    """The user's sessions, those that ended too."""
    passkeys: list[ExportedPasskey]
    """The user's passkeys."""
    identities: list[ExportedIdentity]
    """The user's outside identities."""
    mails: list[ExportedMail]
    """The mails about the account."""
    credentials: list[ExportedCredential]
    """The credentials that were issued to the user."""
    grants: list[ExportedGrant]
    """The folders that the user shares, and those that others share with the user, ended ones too."""
    contributions: list[ExportedContribution]
    """The places in folders of others in which the user could ever write."""
    links: list[ExportedLink]
    """The links that the user made, ended ones too."""
    notes: list[ExportedNote]
    """What the people who run the app wrote about the user."""
    events: list[ExportedEvent]
    """The audit events about the user."""


@router.get("/export", response_model=AccountExport)
async def export_account(
    platform: PlatformDep, export_turn: ExportTurnDep, origin: OriginDep, actor: SteppedUp
) -> Response:
    """Everything that is stored about the caller, as one JSON text. It is sent while it is read."""
    await platform.limiter.hit("export", str(actor.user_id))
    now = platform.clock.now()
    recovery_codes_left = await platform.database.write(export.begin, origin, now, actor)
    user = await platform.database.read(users.get_user, actor.user_id)
    usage = await platform.database.read(quota.find, actor.user_id)
    counted = ExportedUsage(bytes=usage.bytes, objects=usage.objects, counted_at=usage.counted_at) if usage else None
    empty: dict[str, Any] = {name: [] for name in LISTINGS}
    whole = AccountExport(
        exported_at=now,
        profile=await read_profile(platform, actor),
        guest=user.guest,
        has_password=user.password_hash is not None,
        recovery_codes_left=recovery_codes_left,
        quota_bytes=user.quota_bytes,
        usage=counted,
        **empty,
    )
    return StreamingResponse(_pieces(platform, export_turn, user, whole), media_type="application/json")


async def _pieces(platform: Platform, export_turn: ExportTurn, user: User, whole: AccountExport) -> AsyncIterator[str]:
    """Exports take turns, a page each, and rest for as long as they work: together they take half a core at most."""
    yield whole.model_dump_json(exclude=set(LISTINGS)).removesuffix("}")
    for name in LISTINGS:
        yield f',"{name}":['
        separator, after = "", None
        while True:
            async with export_turn:
                began_at = platform.clock.monotonic()
                rows, after = await platform.database.read(_page, user, name, after)
                await asyncio.sleep(platform.clock.monotonic() - began_at)
            if after is None:
                break
            yield separator + rows
            separator = ","
        yield "]"
    yield "}"


def _page(session: Session, user: User, name: str, after: Sequence[Any] | None) -> tuple[str, Sequence[Any] | None]:
    """A page as it is sent, and where the next one begins; None after the last one."""
    rows = export.page(session, user, name, after)
    if not rows:
        return "", None
    exported = ",".join(_EXPORTED[name](user, row).model_dump_json() for row in rows)
    return exported, export.keys_of(name, rows[-1])


def _session(_user: User, row: DeviceSession) -> ExportedSession:
    return ExportedSession(
        session_id=row.id,
        device_name=row.device_name,
        method=row.method,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        last_address=row.last_address,
        ended_at=row.over_at,
        end_reason=row.over_reason,
    )


def _passkey(_user: User, row: Passkey) -> ExportedPasskey:
    return ExportedPasskey(name=row.name, created_at=row.created_at, last_used_at=row.last_used_at)


def _identity(_user: User, row: Identity) -> ExportedIdentity:
    return ExportedIdentity(
        provider=row.provider,
        issuer=row.issuer,
        subject=row.subject,
        email=row.email,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )


def _mail(_user: User, row: OutboxMail) -> ExportedMail:
    return ExportedMail(kind=row.kind, recipient=row.recipient, created_at=row.created_at, sent_at=row.sent_at)


def _credential(_user: User, row: IssuedCredential) -> ExportedCredential:
    return ExportedCredential(
        credential_id=row.id,
        session_id=row.session_id,
        link_id=row.link_id,
        access_key_id=row.access_key_id,
        access=row.access,
        prefix=row.prefix,
        shared_prefixes=ledger.shared_prefixes(row),
        write_prefixes=ledger.write_prefixes(row),
        issued_at=row.issued_at,
        expiration=row.expires_at,
        revoked_at=row.withdrawn_at,
    )


def _grant(user: User, row: Grant) -> ExportedGrant:
    by_the_user = row.owner_id == user.id
    return ExportedGrant(
        grant_id=row.id,
        by_the_user=by_the_user,
        grantee_email=row.grantee_email or None if by_the_user else None,
        prefix=session_policy.narrowed_prefix(row.owner_id, row.path),
        access=row.access,
        quota_bytes=row.quota_bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        withdrawn_at=row.withdrawn_at,
        accepted_at=None if by_the_user else row.accepted_at,
    )


def _contribution(_user: User, row: Contribution) -> ExportedContribution:
    return ExportedContribution(prefix=contributing.prefix_of(row), created_at=row.created_at)


def _link(user: User, row: Link) -> ExportedLink:
    return ExportedLink(
        link_id=row.id,
        label=row.label,
        prefix=session_policy.narrowed_prefix(user.id, row.path),
        access=row.access,
        quota_bytes=row.quota_bytes,
        has_password=row.password_hash is not None,
        created_at=row.created_at,
        expires_at=row.expires_at,
        withdrawn_at=row.withdrawn_at,
        opened_at=row.opened_at,
    )


def _note(_user: User, row: UserNote) -> ExportedNote:
    return ExportedNote(text=row.text, created_at=row.created_at)


def _event(_user: User, row: AuditEvent) -> ExportedEvent:
    by_a_viewer = row.actor_id is None and "link_id" in row.detail  # whose address is not the user's to know
    return ExportedEvent(
        at=row.at,
        event=row.event,
        outcome=row.outcome,
        session_id=row.session_id,
        address=row.address if row.actor_id in (None, row.subject_id) and not by_a_viewer else None,
        by_the_user=row.actor_id == row.subject_id,
    )


_EXPORTED: Mapping[str, Callable[[User, Any], ResponseModel]] = {
    "sessions": _session,
    "passkeys": _passkey,
    "identities": _identity,
    "mails": _mail,
    "credentials": _credential,
    "grants": _grant,
    "contributions": _contribution,
    "links": _link,
    "notes": _note,
    "events": _event,
}
