"""The job that erases lost guests: nothing opens their account any more, not even for the owner.

Each guest has a time of their next review, so that millions of active guests cost almost nothing.
"""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ColumnExpressionArgument, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.auth.rotation import REFRESH_IDLE_TTL
from app.crypto.vault import Vault
from app.lifecycle import erasure
from app.platform.process import Platform
from app.records.audit import Origin
from app.records.models import DeviceSession, User

ORIGIN = Origin(request_id="", address="lost guests")
BATCH = 100
LEASE = timedelta(minutes=5)
"""How long a replica has the guests to itself that it has claimed."""
KEPT = timedelta(days=90)
"""How long a guest is kept after the end of their last session, so that support can see what happened."""
REVIEWED_EVERY = timedelta(days=30)


async def erase_next(platform: Platform) -> bool:
    """Reviews up to `BATCH` guests who are due. Returns whether there may be more."""
    now, verifies = platform.clock.now(), platform.settings.verifies_email
    claimed = await platform.database.write(_claim, now)
    for user_id in claimed:
        await platform.database.write(_review, platform.vault, now, user_id, verifies=verifies)
    return len(claimed) == BATCH


def prune(platform: Platform) -> Iterator[int]:
    """The same for the command line, until nobody is due. Yields how many of each batch were erased."""
    now, verifies = platform.clock.now(), platform.settings.verifies_email
    while claimed := platform.database.run("write", _claim, now):
        reviews = (
            platform.database.run("write", _review, platform.vault, now, user_id, verifies=verifies)
            for user_id in claimed
        )
        yield sum(reviews)


def count(session: Session, now: datetime) -> int:
    """How many of the guests who are due would be erased."""
    return session.scalar(select(func.count()).select_from(User).where(*_due(now), _lost(now))) or 0


def _due(now: datetime) -> tuple[ColumnExpressionArgument[bool], ...]:
    return User.guest, User.status == "active", User.guest_review_at <= now


def _lost(now: datetime) -> ColumnElement[bool]:
    """The condition that the last session ended, or could last be refreshed, at least `KEPT` ago."""
    ended = DeviceSession.ended_at > now - KEPT
    alive = and_(
        DeviceSession.ended_at.is_(None),
        DeviceSession.expires_at > now - KEPT,
        DeviceSession.last_used_at > now - KEPT - REFRESH_IDLE_TTL,
    )
    recent = exists().where(DeviceSession.user_id == User.id, or_(ended, alive))
    return and_(User.created_at <= now - KEPT, ~recent)


def _claim(session: Session, now: datetime) -> Sequence[uuid.UUID]:
    due = select(User.id).where(*_due(now)).order_by(User.guest_review_at).limit(BATCH)
    some = due.with_for_update(skip_locked=True).cte("some_of_them")
    return session.scalars(
        update(User)
        .where(User.id.in_(select(some.c.id)))
        .values(guest_review_at=now + LEASE)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    ).all()


def _review(session: Session, vault: Vault, now: datetime, user_id: uuid.UUID, *, verifies: bool) -> bool:
    """Erases a guest who is lost, or sets their next review. A guest who was upgraded meanwhile is left alone."""
    user = session.get_one(User, user_id, with_for_update=True)
    if not user.guest or user.status != "active":
        return False
    if session.scalar(select(User.id).where(User.id == user_id, _lost(now))) is None:
        user.guest_review_at = now + REVIEWED_EVERY
        return False
    erasure.carry_out(session, vault, ORIGIN, now, user, verifies=verifies, actor=None, reason="lost_guest")
    return True
