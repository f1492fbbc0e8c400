"""The events that wait for the operator's server: taken by one replica at a time, and tried again for a day.

An event is sent at least once: if a replica dies before it has noted that an event was delivered, another one sends it
again after LEASE, with the same id. `records/outgoing.py` writes the events.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.platform import retries
from app.records.models import OutgoingEvent

LEASE = timedelta(minutes=1)
"""How long a replica keeps an event that it has taken: several times the longest try."""
WAITING = (OutgoingEvent.delivered_at.is_(None), OutgoingEvent.failed_at.is_(None))
MOST_COUNTED = 1000


@dataclass(frozen=True)
class Event:
    """An event that a replica has taken."""

    id: uuid.UUID
    type: str
    user_id: uuid.UUID | None
    sequence: int | None
    data: Mapping[str, Any]
    created_at: datetime
    lease: uuid.UUID
    attempts: int
    give_up_at: datetime

    @property
    def body(self) -> bytes:
        """The payload, which is the same at each try."""
        return payload(
            self.id, self.type, self.created_at, user_id=self.user_id, sequence=self.sequence, data=self.data
        )


@dataclass(frozen=True)
class Backlog:
    waiting: int
    """`MOST_COUNTED` at most."""
    since: datetime | None
    """When the first of them was to be delivered."""


def payload(
    event_id: uuid.UUID,
    kind: str,
    at: datetime,
    *,
    user_id: uuid.UUID | None,
    sequence: int | None,
    data: Mapping[str, Any],
) -> bytes:
    """The body of a message, with the members that Standard Webhooks 1.0 names: `type`, `timestamp` and `data`."""
    told = {"user_id": None if user_id is None else str(user_id), "sequence": sequence, **data}
    moment = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps({"id": str(event_id), "type": kind, "timestamp": moment, "data": told}).encode()


def take(session: Session, now: datetime, *, most: int) -> Sequence[Event]:
    """Takes up to `most` due events, by one statement, so that no two replicas take the same event."""
    due = (
        select(OutgoingEvent.id)
        .where(*WAITING, OutgoingEvent.next_try_at <= now)
        .order_by(OutgoingEvent.next_try_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        .cte("due")  # PostgreSQL would run a plain subquery for each row, and lock more than `most`
    )
    rows = session.execute(
        update(OutgoingEvent)
        .where(OutgoingEvent.id.in_(select(due.c.id)))
        .values(next_try_at=now + LEASE, lease=uuid.uuid4(), attempts=OutgoingEvent.attempts + 1)
        .returning(*_COLUMNS)
        .execution_options(synchronize_session=False)
    ).all()
    return sorted((Event(*row) for row in rows), key=lambda event: (event.created_at, event.sequence or 0))


def find(session: Session, event_id: uuid.UUID) -> Event:
    """An event that is taken."""
    return Event(*session.execute(select(*_COLUMNS).where(OutgoingEvent.id == event_id)).one())


def note_delivered(session: Session, now: datetime, event: Event) -> None:
    _settle(session, event, delivered_at=now, fault=None)


def note_failed(session: Session, now: datetime, event: Event, fault: str, *, for_good: bool) -> bool:
    """Postpones the next try, at growing intervals. Gives up in the end, and returns whether it did."""
    later = retries.next_try(now, attempts=event.attempts, give_up_at=event.give_up_at)
    next_try_at = None if for_good else later
    if next_try_at is None:
        _settle(session, event, failed_at=now, fault=fault)
    else:
        _settle(session, event, next_try_at=next_try_at, fault=fault)
    return next_try_at is None


def look(session: Session) -> Backlog:
    """What waits. A count costs the same however much that is."""
    end = OutgoingEvent.give_up_at
    some = select(end.label("end")).where(*WAITING).order_by(end).limit(MOST_COUNTED).subquery()
    waiting, first = session.execute(select(func.count(), func.min(some.c.end)).select_from(some)).one()
    return Backlog(waiting, None if first is None else first - retries.GIVE_UP_AFTER)


def _settle(session: Session, event: Event, **values: Any) -> None:
    """Updates the event, unless another replica took it after the lease."""
    session.execute(
        update(OutgoingEvent)
        .where(OutgoingEvent.id == event.id, OutgoingEvent.lease == event.lease)
        .values(lease=None, **values)
        .execution_options(synchronize_session=False)
    )


_COLUMNS = (
    OutgoingEvent.id,
    OutgoingEvent.type,
    OutgoingEvent.user_id,
    OutgoingEvent.sequence,
    OutgoingEvent.data,
    OutgoingEvent.created_at,
    OutgoingEvent.lease,
    OutgoingEvent.attempts,
    OutgoingEvent.give_up_at,
)
"""In the order of the members of `Event`."""
