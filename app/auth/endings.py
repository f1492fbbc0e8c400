"""How sessions end: one by itself, the least recently used of too many, or all of a user at once.

A session lives while it has the epoch of its user and nobody has ended it by itself. All sessions of a user end by one
statement, which raises the user's epoch, and every reader compares the two. So a sign-out takes the same time for one
session and for a million, and is in force with the next request. The transaction writes end and audit row of as many
sessions as a user may have; where there are more, from before that was bounded, a job writes the rest in batches.

Replicas of the version before know no epoch: while they are replaced, the rest goes on there until the job reaches it.
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
"""Sessions among which a sign-in looks for those to end: a user may have more that began before they were bounded."""
BATCH = 1000
"""Sessions that the job settles in one transaction."""
SIGNAL = "session endings"
ENDED = or_(DeviceSession.ended_at.is_not(None), DeviceSession.session_epoch.is_distinct_from(User.session_epoch))
"""In a statement that joins a session with its user."""


@dataclass(frozen=True)
class _End:
    """Whose sessions end, when, by whom and why."""

    origin: Origin
    now: datetime
    user_id: uuid.UUID
    actor_id: uuid.UUID | None
    reason: str


def epoch_of(user_id: uuid.UUID) -> ScalarSelect[int]:
    """The epoch of a user at the time of the statement."""
    return select(User.session_epoch).where(User.id == user_id).scalar_subquery()


def alive_of(user_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    """Of sessions: that they are this user's and nobody has ended them. Whether they have expired is another question.

    An index finds these alone, newest or oldest first, whatever number has ended.
    """
    return (
        DeviceSession.user_id == user_id,
        DeviceSession.session_epoch == epoch_of(user_id),
        DeviceSession.ended_at.is_(None),
    )


def end(
    session: Session, origin: Origin, now: datetime, *, family_id: uuid.UUID, actor_id: uuid.UUID | None, reason: str
) -> bool:
    """Ends one session that nobody has ended by itself, with its credentials, and says whether there was one.

    Its user is not locked, so the epoch is left out: who keeps this session at the same time may just have raised it.
    """
    user_id = session.scalar(select(DeviceSession.user_id).where(DeviceSession.id == family_id))
    if user_id is None:
        return False
    unended = (DeviceSession.id == family_id, DeviceSession.ended_at.is_(None))
    return _end(session, _End(origin, now, user_id, actor_id, reason), *unended)


def make_room(session: Session, origin: Origin, now: datetime, *, user_id: uuid.UUID) -> None:
    """Ends the least recently used sessions of a user whose row is locked, so that there is room for one more."""
    # In the order of the index: without one PostgreSQL may read the whole table for the first thousand.
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
    """Ends one of the user's sessions, or all, or all but `keeping`.

    The user is locked first, as everywhere, so whoever signs in or vends meanwhile waits, and is seen by us or sees us.
    Raises `NotFound` for one that is not theirs or not alive.
    """
    session.execute(select(User.id).where(User.id == user_id).with_for_update())
    ending = _End(origin, now, user_id, actor_id, reason)
    if family_id is None:
        _end_all(session, ending, keeping)
    elif not _end(session, ending, *alive_of(user_id), DeviceSession.id == family_id):
        raise NotFound


def is_alive(session: Session, *, user_id: uuid.UUID, family_id: uuid.UUID) -> bool:
    """Whether nobody has ended the session. It is locked, so it stays so as long as its user is locked too."""
    row = select(DeviceSession.id).where(*alive_of(user_id), DeviceSession.id == family_id)
    return session.scalar(row.with_for_update(of=DeviceSession)) is not None


async def settle_next(platform: Platform) -> bool:
    """Settles a batch of sessions that ended by their epoch, and says whether there were any."""
    return await platform.database.write_unhurried(settle)


def settle(session: Session) -> bool:
    """The same as a story. What another replica is settling is left to it."""
    waiting = select(SessionEnding).order_by(SessionEnding.ended_at).limit(1)
    row = session.scalar(waiting.with_for_update(skip_locked=True))
    if row is None:
        return False
    ending = _End(Origin(row.request_id, row.address), row.ended_at, row.user_id, row.actor_id, row.reason)
    if len(_settle(session, ending, row.session_epoch, most=BATCH)) < BATCH:
        session.delete(row)
    return True


def _end(session: Session, ending: _End, *which: ColumnElement[bool]) -> bool:
    """Ends sessions by themselves, with their credentials, and says whether there were any."""
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
    """Writes end and audit row of up to `most` sessions of an epoch that is over, newest first; which they were."""
    # As a CTE: PostgreSQL may run a plain subquery once a row.
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
