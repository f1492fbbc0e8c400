"""Everything that is stored about a user. It is read page by page, so it takes the memory of one page."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, tuple_
from sqlalchemy.orm import Session, undefer_group
from sqlalchemy.sql.base import ExecutableOption

from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin
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
    RecoveryCode,
    User,
    UserNote,
)


class ExportTurn(asyncio.Semaphore):
    """Held while an export reads one page, so that one export reads at a time."""

    def __init__(self) -> None:
        super().__init__(1)


PAGE = 200
"""Rows that are read and written at once. Other callers get their turn between two pages."""


@dataclass(frozen=True)
class Listing:
    """The rows of a table that are about a user, in the order of `keys`. The last key is unique."""

    model: Any
    about: Callable[[User], ColumnElement[bool]]
    keys: tuple[Any, ...]
    options: tuple[ExecutableOption, ...] = ()


LISTINGS = {
    "sessions": Listing(
        DeviceSession,
        lambda user: DeviceSession.user_id == user.id,
        (DeviceSession.created_at, DeviceSession.id),
        options=(undefer_group("over"),),
    ),
    "passkeys": Listing(Passkey, lambda user: Passkey.user_id == user.id, (Passkey.id,)),
    "identities": Listing(Identity, lambda user: Identity.user_id == user.id, (Identity.id,)),
    "mails": Listing(OutboxMail, lambda user: OutboxMail.user_id == user.id, (OutboxMail.id,)),
    "credentials": Listing(
        IssuedCredential,
        lambda user: IssuedCredential.user_id == user.id,
        (IssuedCredential.issued_at, IssuedCredential.id),
    ),
    "grants": Listing(
        Grant,
        lambda user: or_(Grant.owner_id == user.id, Grant.grantee_id == user.id),
        (Grant.created_at, Grant.id),
    ),
    "contributions": Listing(Contribution, lambda user: Contribution.contributor_id == user.id, (Contribution.id,)),
    "links": Listing(Link, lambda user: Link.owner_id == user.id, (Link.created_at, Link.id)),
    "notes": Listing(UserNote, lambda user: UserNote.user_id == user.id, (UserNote.id,)),
    "events": Listing(
        AuditEvent,
        # A report of a link is between whoever made it and staff.
        lambda user: (AuditEvent.subject_id == user.id) & (AuditEvent.event != "link.reported"),
        (AuditEvent.at, AuditEvent.id),
    ),
}


def page(session: Session, user: User, name: str, after: Sequence[Any] | None) -> Sequence[Any]:
    """Up to `PAGE` rows of a listing that follow the keys `after`."""
    listing = LISTINGS[name]
    rows = select(listing.model).where(listing.about(user)).order_by(*listing.keys).limit(PAGE)
    rows = rows.options(*listing.options)
    if after is not None:
        rows = rows.where(tuple_(*listing.keys) > tuple(after))
    return session.scalars(rows).all()


def keys_of(name: str, row: Any) -> list[Any]:
    """The keys of a row, for the `after` of the next `page`."""
    return [getattr(row, key.key) for key in LISTINGS[name].keys]


def begin(session: Session, origin: Origin, now: datetime, actor: Actor) -> int:
    """Audits that the user asked for an export. Returns how many unused recovery codes they have."""
    audit.record(
        session,
        origin,
        "user.exported",
        now,
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
    )
    return session.scalar(select(func.count()).where(*_unused(actor.user_id))) or 0


def _unused(user_id: uuid.UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None)
