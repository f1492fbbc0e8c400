"""Ends sessions: a single one, the least recently used of too many, or all of a user at once.

A session is alive while it has the epoch of its user and has not been ended singly. One statement ends all sessions of
a user: it raises the user's epoch, and every reader compares the two. So a sign-out takes the same time for one session
and for a million, and holds from the next request on. The transaction also writes the end and the audit row of as many
sessions as a user may have. If a user has more, from before there was a bound, a job writes the rest in batches.

Replicas of the previous version know no epoch. While they are being replaced, they accept the remaining sessions until
the job has ended them.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, insert, or_, select, update
from sqlalchemy.orm import Session

from app.platform.db import signal_after_commit
from app.platform.problems import NotFound
from app.platform.process import Platform
from app.records import audit
from app.records.audit import Origin
from app.records.models import DeviceSession, SessionEnding, User
from app.revocation import marks

MOST = 100
"""Sessions that a user may have. One more ends the least recently used."""
LOOKED_AT = 1000
"""How many sessions a sign-in considers for ending. A user may have more, from before there was a bound."""
BATCH = 1000
"""Sessions that the job settles in one transaction."""
SIGNAL = "session endings"
ENDED = or_(DeviceSession.ended_at.is_not(None), DeviceSession.session_epoch.is_distinct_from(User.session_epoch))
"""The condition that a session has ended, for statements that join a session with its user."""


@dataclass(frozen=True)
class _End:
    """Whose sessions end, when, who ends them, and why."""

    origin: Origin
    now: datetime
    user_id: uuid.UUID
    actor_id: uuid.UUID | None
    reason: str


def epoch_of(user_id: uuid.UUID) -> ScalarSelect[int]:
    """The epoch of a user at the time of the statement."""
    return select(User.session_epoch).where(User.id == user_id).scalar_subquery()


def alive_of(user_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    """The conditions that a session is this user's and has not been ended. It may have expired.

    An index finds exactly these sessions, newest or oldest first, however many have ended.
    """
    return (
        DeviceSession.user_id == user_id,
        DeviceSession.session_epoch == epoch_of(user_id),
        DeviceSession.ended_at.is_(None),
    )


def end(
    session: Session, origin: Origin, now: datetime, *, family_id: uuid.UUID, actor_id: uuid.UUID | None, reason: str
) -> bool:
    """Ends one session that has not been ended singly, with its credentials. Returns whether there was one.

    The epoch is not compared, because the user is not locked: a concurrent sign-out that keeps this session may just
    have raised it.
    """
    user_id = session.scalar(select(DeviceSession.user_id).where(DeviceSession.id == family_id))
    if user_id is None:
        return False
    unended = (DeviceSession.id == family_id, DeviceSession.ended_at.is_(None))
    return _end(session, _End(origin, now, user_id, actor_id, reason), *unended)


def make_room(session: Session, origin: Origin, now: datetime, *, user_id: uuid.UUID) -> None:
    """Ends the least recently used sessions of a locked user, so that there is room for one more."""
    # In the order of the index. Otherwise PostgreSQL may read the whole table for the first thousand.
    rows = select(DeviceSession.id, DeviceSession.last_used_at).where(*alive_of(user_id))
    oldest = rows.order_by(DeviceSession.created_at, DeviceSession.id).limit(LOOKED_AT)
    alive = sorted(session.execute(oldest), key=lambda row: row.last_used_at)
    if too_many := [row.id for row in alive[: max(0, len(alive) - MOST + 1)]]:
        ending = _End(origin, now, user_id, None, "too_many")
        _end(session, ending, *alive_of(user_id), DeviceSession.id.in_(too_many))


def sign_out(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user_id: uuid.UUID,
    actor_id: uuid.UUID | None,
    family_id: uuid.UUID | None = None,
    keeping: uuid.UUID | None = None,
    reason: str = "sign_out",
) -> None:
    """Ends the session `family_id`, or all of the user's sessions except `keeping`.

    The user is locked first, as everywhere. So a concurrent sign-in or vend waits: it sees our end, or we see its rows.
    Raises `NotFound` if the session is not the user's or not alive.
    """
    session.execute(select(User.id).where(User.id == user_id).with_for_update())
    ending = _End(origin, now, user_id, actor_id, reason)
    if family_id is None:
        _end_all(session, ending, keeping)
    elif not _end(session, ending, *alive_of(user_id), DeviceSession.id == family_id):
        raise NotFound


def is_alive(session: Session, *, user_id: uuid.UUID, family_id: uuid.UUID) -> bool:
    """Whether the session has not been ended. It is locked, so this holds while its user is locked too."""
    row = select(DeviceSession.id).where(*alive_of(user_id), DeviceSession.id == family_id)
    return session.scalar(row.with_for_update(of=DeviceSession)) is not None


async def settle_next(platform: Platform) -> bool:
    """Settles a batch of sessions that ended by their epoch. Returns whether there were any."""
    return await platform.database.write_unhurried(settle)


def settle(session: Session) -> bool:
    """The same within a transaction. Skips what another replica is settling."""
    waiting = select(SessionEnding).order_by(SessionEnding.ended_at).limit(1)
    row = session.scalar(waiting.with_for_update(skip_locked=True))
    if row is None:
        return False
    ending = _End(Origin(row.request_id, row.address), row.ended_at, row.user_id, row.actor_id, row.reason)
    if len(_settle(session, ending, row.session_epoch, most=BATCH)) < BATCH:
        session.delete(row)
    return True


def _end(session: Session, ending: _End, *which: ColumnElement[bool]) -> bool:
    """Ends sessions singly, with their credentials. Returns whether there were any."""
    ended = session.scalars(
        update(DeviceSession)
        .where(*which)
        .values(ended_at=ending.now, end_reason=ending.reason)
        .returning(DeviceSession.id)
        .execution_options(synchronize_session=False)
    ).all()
    if ended:
        _record(session, ending, ended)
        marks.revoke_sessions(
            session,
            ending.origin,
            ending.now,
            user_id=ending.user_id,
            session_ids=ended,
            actor_id=ending.actor_id,
            reason=ending.reason,
        )
    return bool(ended)


def _end_all(session: Session, ending: _End, keeping: uuid.UUID | None) -> None:
    raised = update(User).where(User.id == ending.user_id).values(session_epoch=User.session_epoch + 1)
    epoch = session.scalar(raised.returning(User.session_epoch).execution_options(synchronize_session=False))
    assert epoch is not None
    if keeping is not None:
        session.execute(
            update(DeviceSession)
            .where(
                DeviceSession.id == keeping,
                DeviceSession.user_id == ending.user_id,
                DeviceSession.session_epoch == epoch - 1,
            )
            .values(session_epoch=epoch)
            .execution_options(synchronize_session=False)
        )
    if len(_settle(session, ending, epoch - 1, most=MOST)) == MOST:
        session.execute(
            insert(SessionEnding).values(
                user_id=ending.user_id,
                session_epoch=epoch - 1,
                ended_at=ending.now,
                reason=ending.reason,
                actor_id=ending.actor_id,
                request_id=ending.origin.request_id,
                address=ending.origin.address,
            )
        )
        signal_after_commit(session, SIGNAL)
    marks.revoke_sessions(
        session,
        ending.origin,
        ending.now,
        user_id=ending.user_id,
        keeping=keeping,
        actor_id=ending.actor_id,
        reason=ending.reason,
    )


def _settle(session: Session, ending: _End, epoch: int, *, most: int) -> Sequence[uuid.UUID]:
    """Writes the end and the audit row of up to `most` sessions of a past epoch, newest first. Returns their ids."""
    # As a CTE, because PostgreSQL may run a plain subquery once for each row.
    some = (
        select(DeviceSession.id)
        .where(
            DeviceSession.user_id == ending.user_id,
            DeviceSession.session_epoch == epoch,
            DeviceSession.ended_at.is_(None),
        )
        .order_by(DeviceSession.created_at.desc(), DeviceSession.id.desc())
        .limit(most)
        .with_for_update(of=DeviceSession)
        .cte("some_of_them")
    )
    ended = session.scalars(
        update(DeviceSession)
        .where(DeviceSession.id.in_(select(some.c.id)))
        .values(ended_at=ending.now, end_reason=ending.reason)
        .returning(DeviceSession.id)
        .execution_options(synchronize_session=False)
    ).all()
    if ended:
        _record(session, ending, ended)
    return ended


def _record(session: Session, ending: _End, ended: Sequence[uuid.UUID]) -> None:
    rows = [
        audit.row(
            ending.origin,
            "session.ended",
            ending.now,
            actor_id=ending.actor_id,
            subject_id=ending.user_id,
            session_id=family_id,
            reason=ending.reason,
        )
        for family_id in ended
    ]
    audit.record_all(session, rows)
