"""Reads the audit, newest first, and opens the one way to delete its old rows.

Triggers in the database refuse UPDATE, DELETE and TRUNCATE (see the migration). So a mistake, or SQL injected into this
service, rewrites nothing and deletes nothing of the last 30 days. The owner of the database can drop the triggers.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, literal_column, select, text
from sqlalchemy.orm import Session

from app.admin.users import require_admin
from app.platform.problems import FieldError, InvalidRequest, NotFound
from app.records import addresses, audit, listing
from app.records.actor import Actor
from app.records.audit import Event, Origin, Outcome
from app.records.models import AuditEvent, User, UtcDateTime

PAGE = 1000
"""Rows that an export holds in memory."""
FLOOR = timedelta(days=30)
"""How long the triggers keep every row, whoever deletes."""
_OUTCOMES: dict[Outcome, ColumnElement[str]] = {
    # Literals, because PostgreSQL's prepared plans with a parameter would not use the index of refusals.
    "done": literal_column("'done'"),
    "refused": literal_column("'refused'"),
}


@dataclass(frozen=True)
class Filters:
    actor_id: uuid.UUID | None = None
    subject_id: uuid.UUID | None = None
    person_id: uuid.UUID | None = None
    """Who did it, or whom it is about."""
    request_id: str | None = None
    event: Event | None = None
    outcome: Outcome | None = None
    after: datetime | None = None
    """Inclusive."""
    before: datetime | None = None
    """Exclusive."""

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.actor_id is not None:
            found.append(AuditEvent.actor_id == self.actor_id)
        if self.subject_id is not None:
            found.append(AuditEvent.subject_id == self.subject_id)
        if self.request_id is not None:
            found += [AuditEvent.request_id == self.request_id, AuditEvent.request_id != literal_column("''")]
        if self.event is not None:
            found.append(AuditEvent.event == self.event)
        if self.outcome is not None:
            found.append(AuditEvent.outcome == _OUTCOMES[self.outcome])
        if self.after is not None:
            found.append(AuditEvent.at >= self.after)
        if self.before is not None:
            found.append(AuditEvent.at < self.before)
        return found


@dataclass(frozen=True)
class People:
    """Whom to look for, by id or by the address that they have now."""

    actor: uuid.UUID | str | None = None
    subject: uuid.UUID | str | None = None
    person: uuid.UUID | str | None = None

    def narrowing(self, session: Session, filters: Filters) -> Filters:
        """The filters with the ids of these people. Raises `InvalidRequest`."""
        if self.person is not None and (self.actor, self.subject) != (None, None):
            message = "Send either `person`, or who did it and whom it is about."
            raise InvalidRequest(errors=[FieldError("query.person", "contradiction", message)])
        return replace(
            filters,
            actor_id=_id_of(session, "actor_email", self.actor),
            subject_id=_id_of(session, "subject_email", self.subject),
            person_id=_id_of(session, "person", self.person),
        )


def _id_of(session: Session, parameter: str, whom: uuid.UUID | str | None) -> uuid.UUID | None:
    if whom is None or isinstance(whom, uuid.UUID):
        return whom
    address = addresses.find(whom)
    found = None if address is None else session.scalar(select(User.id).where(User.email_key == address.key))
    if found is None:
        message = "No account has this e-mail address now. Look for a former one by the id."
        raise InvalidRequest(errors=[FieldError(f"query.{parameter}", "no_such_user", message)])
    return found


NOBODY = People()


class Name(NamedTuple):
    email: str | None
    display_name: str | None


def list_events(
    session: Session, filters: Filters, *, limit: int, cursor: str | None
) -> tuple[Sequence[AuditEvent], str | None]:
    """One page, newest first, and the cursor of the next, which costs the same. Raises `InvalidRequest`.

    Sorted by time, then by id. An id tells which row was written first, not which event happened first.
    """
    rows = select(AuditEvent).where(*filters.conditions())
    if filters.person_id is None:
        return listing.page(session, rows, AuditEvent.at, AuditEvent.id, limit=limit, cursor=cursor)
    # Each by its own index. One condition on both columns would read all of a busy person's events, and sort them.
    did, befell = (rows.where(column == filters.person_id) for column in (AuditEvent.actor_id, AuditEvent.subject_id))
    return listing.merged_page(session, (did, befell), AuditEvent.at, AuditEvent.id, limit=limit, cursor=cursor)


def names(session: Session, events: Sequence[AuditEvent]) -> Mapping[uuid.UUID, Name]:
    """The people of these events as they are called now. Erased users and guests have no address."""
    ids = {one for event in events for one in (event.actor_id, event.subject_id) if one is not None}
    rows = select(User.id, User.email, User.display_name).where(User.id.in_(ids))
    return {user_id: Name(email, name) for user_id, email, name in session.execute(rows)} if ids else {}


def list_events_of_user(
    session: Session, filters: Filters, *, limit: int, cursor: str | None
) -> tuple[Sequence[AuditEvent], str | None]:
    """The same for a subject who is or was a user. Raises `NotFound`, `InvalidRequest`."""
    if session.scalar(select(User.id).where(User.id == filters.subject_id)) is None:
        raise NotFound
    return list_events(session, filters, limit=limit, cursor=cursor)


def begin_export(session: Session, origin: Origin, now: datetime, actor: Actor, filters: Filters) -> None:
    """Audits who exports which events."""
    audit.record(
        session,
        origin,
        "audit.exported",
        now,
        actor_id=actor.user_id,
        subject_id=filters.subject_id,
        session_id=actor.session_id,
        of_actor=str(filters.actor_id) if filters.actor_id else None,
        of_person=str(filters.person_id) if filters.person_id else None,
        of_request=filters.request_id,
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
    """Lets this transaction delete. Yields the condition of the rows that the triggers allow to delete."""
    database_now = session.execute(select(func.now(type_=UtcDateTime()))).scalar_one()
    old_enough = AuditEvent.at < database_now - FLOOR
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL tokenvend.prune = 'on'"))
        yield old_enough
        session.execute(text("SET LOCAL tokenvend.prune = 'off'"))
        return
    # SQLite has no session settings. But DDL is part of the transaction, and nobody else writes meanwhile.
    guard = text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'audit_events_no_delete'")
    made_by = session.execute(guard).scalar_one()
    session.execute(text("DROP TRIGGER audit_events_no_delete"))
    yield old_enough
    session.execute(text(made_by))


def record_pruning(session: Session, now: datetime, before: datetime) -> None:
    """Audits the pruning, in the transaction that deletes the first rows."""
    audit.record(session, audit.COMMAND_LINE, "audit.pruned", now, before=before.isoformat())
