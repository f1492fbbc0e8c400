"""The audit as it is read, newest first, and the one way by which old rows of it go.

The database refuses UPDATE, DELETE and TRUNCATE by trigger (see the migration): a mistake, or SQL injected into this
service, rewrites nothing and deletes nothing of the last 30 days. Whoever owns the database can drop triggers.
"""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, literal_column, select, text
from sqlalchemy.orm import Session

from app.admin.users import require_admin
from app.platform.problems import NotFound
from app.records import audit, listing
from app.records.actor import Actor
from app.records.audit import Event, Origin, Outcome
from app.records.models import AuditEvent, User, UtcDateTime

PAGE = 1000
"""Rows that an export holds in memory."""
FLOOR = timedelta(days=30)
"""For which the triggers keep every row, whoever asks."""
_OUTCOMES: dict[Outcome, ColumnElement[str]] = {
    # As a parameter, it would keep PostgreSQL's prepared plans from the index of refusals.
    "done": literal_column("'done'"),
    "refused": literal_column("'refused'"),
}


@dataclass(frozen=True)
class Filters:
    actor_id: uuid.UUID | None = None
    subject_id: uuid.UUID | None = None
    event: Event | None = None
    outcome: Outcome | None = None
    after: datetime | None = None
    """The first moment."""
    before: datetime | None = None
    """The first moment that is too late."""

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.actor_id is not None:
            found.append(AuditEvent.actor_id == self.actor_id)
        if self.subject_id is not None:
            found.append(AuditEvent.subject_id == self.subject_id)
        if self.event is not None:
            found.append(AuditEvent.event == self.event)
        if self.outcome is not None:
            found.append(AuditEvent.outcome == _OUTCOMES[self.outcome])
        if self.after is not None:
            found.append(AuditEvent.at >= self.after)
        if self.before is not None:
            found.append(AuditEvent.at < self.before)
        return found


def list_events(
    session: Session, filters: Filters, *, limit: int, cursor: str | None
) -> tuple[Sequence[AuditEvent], str | None]:
    """One page, newest first, and the cursor of the next, which costs the same. Raises `InvalidRequest`.

    By time, and by id what happened at the same: an id says which row was written first, not what happened first.
    """
    rows = select(AuditEvent).where(*filters.conditions())
    return listing.page(session, rows, AuditEvent.at, AuditEvent.id, limit=limit, cursor=cursor)


def list_events_of_user(
    session: Session, filters: Filters, *, limit: int, cursor: str | None
) -> tuple[Sequence[AuditEvent], str | None]:
    """The same, of a subject who must be, or have been, a user. Raises `NotFound`, `InvalidRequest`."""
    if session.scalar(select(User.id).where(User.id == filters.subject_id)) is None:
        raise NotFound
    return list_events(session, filters, limit=limit, cursor=cursor)


def begin_export(session: Session, origin: Origin, now: datetime, actor: Actor, filters: Filters) -> None:
    """Notes who takes what along."""
    audit.record(
        session,
        origin,
        "audit.exported",
        now,
        actor_id=actor.user_id,
        subject_id=filters.subject_id,
        session_id=actor.session_id,
        of_actor=str(filters.actor_id) if filters.actor_id else None,
        of_event=filters.event,
        of_outcome=filters.outcome,
        after=filters.after.isoformat() if filters.after else None,
        before=filters.before.isoformat() if filters.before else None,
    )


def export_page(
    session: Session, now: datetime, actor: Actor, filters: Filters, *, cursor: str | None
) -> tuple[Sequence[AuditEvent], str | None]:
    """The next `PAGE` events, while the actor may have them. Raises `InvalidToken`, `Forbidden`."""
    require_admin(session, now, actor)
    return list_events(session, filters, limit=PAGE, cursor=cursor)


@contextlib.contextmanager
def opened_for_pruning(session: Session) -> Iterator[ColumnElement[bool]]:
    """While it lasts this transaction may delete; what it yields is true of the rows that the triggers let go."""
    database_now = session.execute(select(func.now(type_=UtcDateTime()))).scalar_one()
    old_enough = AuditEvent.at < database_now - FLOOR
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL tokenvend.prune = 'on'"))
        yield old_enough
        session.execute(text("SET LOCAL tokenvend.prune = 'off'"))
        return
    # SQLite has no settings, but DDL is part of the transaction, and nobody else writes meanwhile.
    guard = text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'audit_events_no_delete'")
    made_by = session.execute(guard).scalar_one()
    session.execute(text("DROP TRIGGER audit_events_no_delete"))
    yield old_enough
    session.execute(text(made_by))


def record_pruning(session: Session, now: datetime, before: datetime) -> None:
    """Notes, in the transaction of the first rows that go, that all older ones do."""
    audit.record(session, audit.COMMAND_LINE, "audit.pruned", now, before=before.isoformat())
