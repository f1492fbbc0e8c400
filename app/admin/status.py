"""What goes on behind the service, in counts that cost the same however much there is.

A count stops at `MOST`. Each is found by a partial index of the rows that it counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.admin.mails import FAILED, WAITING
from app.records import listing
from app.records.models import Canary, Erasure, OutboxMail, Revocation, RolePolicy

MOST = 1000
UNDER_WAY = Erasure.completed_at.is_(None)


@dataclass(frozen=True)
class Queue:
    count: int
    is_more: bool
    """Whether there are more than `count`."""
    oldest_at: datetime | None


@dataclass(frozen=True)
class Status:
    mails_waiting: Queue
    mails_failed: Queue
    erasures: Queue
    revocations: Queue
    """Marks that the engine has not been told."""
    roles: Sequence[RolePolicy]
    canary: Canary | None


def read(session: Session) -> Status:
    untold = (Revocation.withheld.is_(False), Revocation.applied_at.is_(None))
    return Status(
        mails_waiting=_queue(session, OutboxMail.created_at, *WAITING),
        mails_failed=_queue(session, OutboxMail.failed_at, *FAILED),
        erasures=_queue(session, Erasure.requested_at, UNDER_WAY),
        revocations=_queue(session, Revocation.revoked_at, *untold),
        roles=session.scalars(select(RolePolicy).order_by(RolePolicy.role_arn).limit(100)).all(),
        canary=session.scalar(select(Canary).limit(1)),
    )


def list_erasures(session: Session, *, limit: int, cursor: str | None) -> tuple[Sequence[Erasure], str | None]:
    """One page of the erasures under way, newest first. Raises `InvalidRequest`."""
    rows = select(Erasure).where(UNDER_WAY)
    return listing.page(session, rows, Erasure.requested_at, Erasure.user_id, limit=limit, cursor=cursor)


def _queue(session: Session, moment: InstrumentedAttribute[Any], *which: ColumnElement[bool]) -> Queue:
    """`moment`: the column of the index of these rows."""
    some = select(moment.label("at")).where(*which).order_by(moment).limit(MOST + 1).subquery()
    count, oldest_at = session.execute(select(func.count(), func.min(some.c.at)).select_from(some)).one()
    return Queue(min(count, MOST), count > MOST, oldest_at)
