"""When each user was last seen, to the hour, in the user's own row, by which lists are sorted.

A session's row has the exact time. The user's row gets it at most once an hour, because it has many indexes.
"""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from app.platform.process import Platform
from app.records.models import Backfill, DeviceSession, User

EVERY = timedelta(hours=1)
BATCH = 500
NAME = "last_seen"


def note(session: Session, now: datetime, *, user_id: uuid.UUID, known: datetime | None) -> None:
    """Notes that the user is here, unless the `known` time is less than an hour ago.

    The caller may hold the session's row, while a sign-out holds the user's row and waits for the session's. So this
    never waits: if the user's row is locked, the next refresh notes it.
    """
    if known is not None and now - known < EVERY:
        return
    free = select(User.id).where(User.id == user_id).with_for_update(skip_locked=True, key_share=True)
    statement = update(User).where(User.id.in_(free)).values(last_seen_at=now)
    session.execute(statement.execution_options(synchronize_session=False))


async def fill_next(platform: Platform) -> bool:
    """Fills the column for a batch of users. Returns whether there may be more."""
    return await platform.database.write_unhurried(fill)


def fill(session: Session) -> bool:
    """The same within a transaction. One replica does it at a time."""
    under_way = session.get(Backfill, NAME, with_for_update={"skip_locked": True})
    if under_way is None:
        return False
    rows = select(User.id).order_by(User.id).limit(BATCH)
    if under_way.position is not None:
        rows = rows.where(User.id > under_way.position)
    ids = session.scalars(rows).all()
    if not ids:
        session.delete(under_way)
        return False
    seen = select(DeviceSession.user_id, func.max(DeviceSession.last_used_at).label("at"))
    found = session.execute(seen.where(DeviceSession.user_id.in_(ids)).group_by(DeviceSession.user_id)).all()
    if found:
        free = select(User.id).where(User.id == bindparam("user")).with_for_update(skip_locked=True, key_share=True)
        statement = (
            update(User).where(User.id.in_(free), User.last_seen_at.is_(None)).values(last_seen_at=bindparam("at"))
        )
        session.connection().execute(statement, [{"user": row.user_id, "at": row.at} for row in found])
    under_way.position = ids[-1]
    return True
