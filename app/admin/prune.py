"""Deletes stale rows in small batches, by a job and by a command. Any number of them may run at once."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select, text, tuple_
from sqlalchemy.orm import Session

from app.admin import audit_events
from app.platform.process import Platform
from app.records.models import (
    Activity,
    AuditEvent,
    DeviceSession,
    Grant,
    Link,
    LinkContributor,
    MailCount,
    Model,
    OutboxMail,
    OutgoingEvent,
    RefreshToken,
    Revocation,
    SingleUseToken,
    UserImport,
    UserImportProblem,
)

BATCH = 1000
KEPT = timedelta(days=1)
"""How long an expired token is still told from an unknown one."""
SESSIONS_KEPT = timedelta(days=90)
"""How long users, and investigators of a theft, can see ended sessions."""
MAILS_KEPT = timedelta(days=30)
EVENTS_KEPT = timedelta(days=30)
"""How long an event can be delivered again. One that waits so long has no server to go to any more."""
GRANTS_KEPT = timedelta(days=90)
"""How long the export of a user's data has their ended links, and the ended grants that they gave or received."""
IMPORTS_KEPT = timedelta(days=90)
"""How long an import and its report are kept after its last batch. Until then it may be resumed."""
ACTIVITY_KEPT = timedelta(days=400)
"""A year, and a month to compare with."""


@dataclass(frozen=True)
class Kind:
    """Rows of a table that are of no use any more."""

    name: str
    model: type[Model]
    keys: tuple[Any, ...]
    stale: ColumnElement[bool]
    ready: tuple[ColumnElement[bool], ...] = ()
    """What must hold before they can be deleted, such as that no other row refers to them."""


async def clean(platform: Platform) -> bool:
    """Deletes up to `BATCH` rows of a kind. Returns whether there may be more."""
    return await platform.database.write(delete_stale, platform.clock.now())


def delete_stale(session: Session, now: datetime) -> bool:
    """Deletes stale rows kind by kind. Stops and returns True at a kind with `BATCH` of them: there may be more."""
    return any(_delete(session, kind) >= BATCH for kind in stale_kinds(now))


def stale_kinds(now: datetime) -> tuple[Kind, ...]:
    """The kinds that the job deletes. Rows come before the rows that they refer to."""
    expired = RefreshToken.expires_at < now - KEPT
    old = (DeviceSession.ended_at < now - SESSIONS_KEPT) | (DeviceSession.expires_at < now - SESSIONS_KEPT)
    forgotten = RefreshToken.session_id.in_(select(DeviceSession.id).where(old))
    without_tokens = ~exists().where(RefreshToken.session_id == DeviceSession.id)
    over = (Grant.withdrawn_at < now - GRANTS_KEPT) | (Grant.expires_at < now - GRANTS_KEPT)
    dead = (Link.withdrawn_at < now - GRANTS_KEPT) | (Link.expires_at < now - GRANTS_KEPT)
    without_contributors = ~exists().where(LinkContributor.link_id == Link.id)
    settled = OutboxMail.sent_at.is_not(None) | OutboxMail.failed_at.is_not(None)
    reported = UserImportProblem.import_id.in_(select(UserImport.id).where(UserImport.updated_at < now - IMPORTS_KEPT))
    without_problems = ~exists().where(UserImportProblem.import_id == UserImport.id)
    return (
        Kind("single-use tokens", SingleUseToken, (SingleUseToken.token_hash,), SingleUseToken.expires_at < now - KEPT),
        Kind("mails", OutboxMail, (OutboxMail.id,), (OutboxMail.created_at < now - MAILS_KEPT) & settled),
        Kind("events out", OutgoingEvent, (OutgoingEvent.id,), OutgoingEvent.created_at < now - EVENTS_KEPT),
        Kind("counts of mails", MailCount, (MailCount.key,), MailCount.ends_at < now),
        Kind("revocations", Revocation, (Revocation.subject_id,), Revocation.expires_at < now),
        Kind("expired refresh tokens", RefreshToken, (RefreshToken.token_hash,), expired),
        Kind("refresh tokens of old sessions", RefreshToken, (RefreshToken.token_hash,), forgotten & ~expired),
        Kind("old sessions", DeviceSession, (DeviceSession.id,), old, ready=(without_tokens,)),
        Kind("grants that are over", Grant, (Grant.id,), over, ready=(Grant.recall_at.is_(None),)),
        Kind(
            "contributors of links that are over",
            LinkContributor,
            (LinkContributor.id,),
            LinkContributor.link_id.in_(select(Link.id).where(dead)),
        ),
        Kind("links that are over", Link, (Link.id,), dead, ready=(without_contributors,)),
        Kind("counts over time", Activity, (Activity.started_at,), Activity.started_at < now - ACTIVITY_KEPT),
        Kind(
            "reports of old imports", UserImportProblem, (UserImportProblem.import_id, UserImportProblem.row), reported
        ),
        Kind(
            "old imports",
            UserImport,
            (UserImport.id,),
            UserImport.updated_at < now - IMPORTS_KEPT,
            ready=(without_problems,),
        ),
    )


def old_events(before: datetime) -> Kind:
    """Audit events. No job deletes them: the operator decides how long to keep them."""
    return Kind("audit events", AuditEvent, (AuditEvent.id,), AuditEvent.at < before)


def count_stale(platform: Platform, kind: Kind) -> int:
    """The number of stale rows. Only for a command: it has no time limit. Raises `DatabaseUnavailable`."""
    # A time limit is changed for a transaction, never for a session, which others may get from a pooler. On SQLite a
    # transaction that may write would keep all others from writing.
    postgresql = platform.database.engine.dialect.name == "postgresql"
    return platform.database.run("write" if postgresql else "read", _count, kind)


def _count(session: Session, kind: Kind) -> int:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL statement_timeout = 0"))
    return session.scalar(select(func.count()).select_from(kind.model).where(kind.stale)) or 0


def prune(platform: Platform, kind: Kind) -> Iterator[int]:
    """Deletes all stale rows of a kind, in a transaction for each batch. Yields the size of each batch.

    After each batch it rests as long as it worked, because SQLite has one writer and the service needs its turn. Raises
    `DatabaseUnavailable`.
    """
    return _batches(platform, lambda session, _first: _delete(session, kind))


def prune_events(platform: Platform, before: datetime) -> Iterator[int]:
    """The same for audit events. It adds an event that tells of the pruning."""
    kind, now = old_events(before), platform.clock.now()

    def delete_batch(session: Session, first: bool) -> int:
        with audit_events.opened_for_pruning(session) as old_enough:
            deleted = _delete(session, kind, old_enough)
        if first and deleted:
            audit_events.record_pruning(session, now, before)
        return deleted

    return _batches(platform, delete_batch)


def _batches(platform: Platform, delete_batch: Callable[[Session, bool], int]) -> Iterator[int]:
    for number in itertools.count():
        started = platform.clock.monotonic()
        deleted = platform.database.run("write", delete_batch, number == 0)
        yield deleted
        if deleted < BATCH:
            return
        time.sleep(platform.clock.monotonic() - started)


def _delete(session: Session, kind: Kind, *allowed: ColumnElement[bool]) -> int:
    # Skips what another replica is deleting. As a CTE, because a plain subquery may run for each row and lock more.
    rows = select(*kind.keys).where(kind.stale, *kind.ready, *allowed)
    some = rows.limit(BATCH).with_for_update(skip_locked=True, of=kind.model).cte("some_of_them")
    found = select(*(some.c[key.key] for key in kind.keys))
    statement = delete(kind.model).where(tuple_(*kind.keys).in_(found)).returning(*kind.keys)
    deleted = session.execute(statement.execution_options(synchronize_session=False))
    return len(deleted.all())
