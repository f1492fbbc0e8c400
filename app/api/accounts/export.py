"""`/v1/me/export`: what is stored about a user, in their own hands."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
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
    DeviceSession,
    Grant,
    Identity,
    IssuedCredential,
    OutboxMail,
    Passkey,
    User,
    UserNote,
)
from app.storage import quota
from app.vending import ledger

router = APIRouter(prefix="/v1/me", tags=["accounts"], route_class=JsonRoute)


class ExportedSession(ResponseModel):
    session_id: UUID
    device_name: str | None
    method: Method
    created_at: Timestamp
    last_used_at: Timestamp
    last_address: str | None
    ended_at: Timestamp | None
    end_reason: str | None


class ExportedPasskey(ResponseModel):
    name: str
    created_at: Timestamp
    last_used_at: Timestamp | None


class ExportedIdentity(ResponseModel):
    provider: str
    issuer: str
    subject: str
    email: str | None
    created_at: Timestamp
    last_used_at: Timestamp


class ExportedMail(ResponseModel):
    kind: str
    recipient: str
    created_at: Timestamp
    sent_at: Timestamp | None


class ExportedCredential(ResponseModel):
    credential_id: UUID
    session_id: UUID
    access_key_id: str
    access: Access
    prefix: str
    shared_prefixes: list[str]
    issued_at: Timestamp
    expiration: Timestamp
    revoked_at: Timestamp | None


class ExportedGrant(ResponseModel):
    """A folder that the user shares, or that somebody shares with the user."""

    grant_id: UUID
    by_the_user: bool
    grantee_email: str | None
    """Null where somebody else wrote it, or its account was erased."""
    prefix: str
    created_at: Timestamp
    expires_at: Timestamp | None
    withdrawn_at: Timestamp | None
    accepted_at: Timestamp | None
    """Null where the user has not accepted it, and where it is the user who shares."""


class ExportedNote(ResponseModel):
    """What the people who run the app wrote about the user. Who of them wrote it is not the user's to know."""

    text: str
    created_at: Timestamp


class ExportedEvent(ResponseModel):
    at: Timestamp
    event: str
    outcome: Outcome
    session_id: UUID | None
    address: str | None
    """Null where somebody else did it: an administrator's address is not the user's to know."""
    by_the_user: bool


class ExportedUsage(ResponseModel):
    """As it was last counted."""

    bytes: int
    objects: int
    counted_at: Timestamp | None


class AccountExport(ResponseModel):
    """Everything that is stored about a user, except secrets and their hashes. The pictures are in the bucket."""

    exported_at: Timestamp
    profile: Profile
    guest: bool
    has_password: bool
    recovery_codes_left: int
    quota_bytes: int | None
    """Of their own."""
    usage: ExportedUsage | None
    """Null where nobody counts."""
    sessions: list[ExportedSession]
    passkeys: list[ExportedPasskey]
    identities: list[ExportedIdentity]
    mails: list[ExportedMail]
    credentials: list[ExportedCredential]
    grants: list[ExportedGrant]
    notes: list[ExportedNote]
    events: list[ExportedEvent]


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
        access_key_id=row.access_key_id,
        access=row.access,
        prefix=row.prefix,
        shared_prefixes=ledger.shared_prefixes(row),
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
        created_at=row.created_at,
        expires_at=row.expires_at,
        withdrawn_at=row.withdrawn_at,
        accepted_at=None if by_the_user else row.accepted_at,
    )


def _note(_user: User, row: UserNote) -> ExportedNote:
    return ExportedNote(text=row.text, created_at=row.created_at)


def _event(_user: User, row: AuditEvent) -> ExportedEvent:
    return ExportedEvent(
        at=row.at,
        event=row.event,
        outcome=row.outcome,
        session_id=row.session_id,
        address=row.address if row.actor_id in (None, row.subject_id) else None,
        by_the_user=row.actor_id == row.subject_id,
    )


_EXPORTED: Mapping[str, Callable[[User, Any], ResponseModel]] = {
    "sessions": _session,
    "passkeys": _passkey,
    "identities": _identity,
    "mails": _mail,
    "credentials": _credential,
    "grants": _grant,
    "notes": _note,
    "events": _event,
}
