"""Users as administrators see them: lists that are narrowed, sorted and counted, and single users."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, union_all
from sqlalchemy.orm import Session

from app.admin.user_filters import KEYS, MFA_ENABLED, Filters, Sort
from app.auth import sessions
from app.platform.db import PLANNED_ANEW
from app.platform.problems import Forbidden, InvalidToken, NotFound
from app.platform.process import Platform
from app.records import counting, listing
from app.records.actor import Actor
from app.records.counting import Count
from app.records.listing import Order
from app.records.models import DeviceSession, IssuedCredential, Usage, User
from app.vending import ledger

NEWEST = 100
"""Sessions of a user, alive or ended, among which the last use is looked for, besides as many that are alive."""


def _newest(*which: ColumnElement[bool]) -> Select[tuple[datetime]]:
    newest = select(DeviceSession.last_used_at).where(DeviceSession.user_id == User.id, *which)
    ordered = newest.order_by(DeviceSession.created_at.desc(), DeviceSession.id.desc()).limit(NEWEST)
    return select(ordered.correlate(User).subquery().c.last_used_at)


_ALIVE = (DeviceSession.session_epoch == User.session_epoch, DeviceSession.ended_at.is_(None))
_USED = union_all(_newest(), _newest(*_ALIVE)).subquery()
_LAST_SEEN = select(func.max(_USED.c.last_used_at)).scalar_subquery()
_ACCOUNTS = select(User, MFA_ENABLED.label("mfa_enabled"), _LAST_SEEN.label("used_at"), Usage).outerjoin(
    Usage, Usage.user_id == User.id
)


@dataclass(frozen=True)
class Account:
    user: User
    mfa_enabled: bool
    """Whether the user has an authenticator app."""
    used_at: datetime | None
    """When one of the user's sessions was last used, of those that are still known."""
    usage: Usage | None

    @property
    def last_seen_at(self) -> datetime | None:
        return max((at for at in (self.used_at, self.user.last_seen_at) if at is not None), default=None)


def search(
    session: Session,
    filters: Filters,
    *,
    sort: Sort = "created_at",
    descending: bool = True,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Account], str | None]:
    """One page of the users that fit, and the cursor of the next, which costs the same. Raises `InvalidRequest`.

    Users without an address, or who were never seen, come last in an order by it.
    """
    filters.check(sort)
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    if sort == "last_seen_at":
        # The order's two halves are two ranges of its index, so the filter must not be one condition on both.
        rows = _ACCOUNTS.where(*filters.conditions(on_sqlite=on_sqlite))
        known = () if filters.last_seen_before is None else (User.last_seen_at < filters.last_seen_before,)
    else:
        rows, known = _ACCOUNTS.where(*filters.all_conditions(on_sqlite=on_sqlite)), ()
    if filters.query is not None:
        rows = rows.execution_options(**{PLANNED_ANEW: True})
    order = Order(sort, KEYS[sort], descending=descending, known=known)
    page, next_cursor = listing.page_in_order(session, rows, order, User.id, limit=limit, cursor=cursor)
    return [Account(*row) for row in page], next_cursor


async def count(platform: Platform, filters: Filters) -> Count:
    """How many users fit. Raises `InvalidRequest`."""
    filters.check()
    on_sqlite = platform.database.engine.dialect.name == "sqlite"
    return await counting.count(platform, select(User.id).where(*filters.all_conditions(on_sqlite=on_sqlite)))


def get(session: Session, user_id: UUID) -> Account:
    """Raises `NotFound`."""
    row = session.execute(_ACCOUNTS.where(User.id == user_id)).one_or_none()
    if row is None:
        raise NotFound
    return Account(*row)


def list_sessions(
    session: Session, now: datetime, user_id: UUID, *, limit: int, cursor: str | None
) -> tuple[Sequence[DeviceSession], str | None]:
    """One page of the devices that the user is signed in on. Raises `NotFound`, `InvalidRequest`."""
    require(session, user_id)
    return sessions.list_alive(session, now, user_id=user_id, limit=limit, cursor=cursor)


def list_credentials(
    session: Session, user_id: UUID, *, limit: int, cursor: str | None
) -> tuple[Sequence[IssuedCredential], str | None]:
    """One page of what was issued to the user, newest first. Raises `NotFound`, `InvalidRequest`."""
    require(session, user_id)
    return ledger.list_issued(session, user_id=user_id, limit=limit, cursor=cursor)


def require_admin(session: Session, now: datetime, actor: Actor) -> None:
    """Checks an administrator again during long work, so that it stops if they were signed out, demoted or disabled.

    Raises `InvalidToken`, `Forbidden`.
    """
    state = sessions.states(session, [actor.session_id]).get(actor.session_id)
    if state is None or not state.is_alive(now):
        raise InvalidToken
    if (state.status, state.role) != ("active", "admin"):
        raise Forbidden


def require(session: Session, user_id: UUID) -> None:
    """Raises `NotFound`, not for an erased user, whose history stays."""
    if session.scalar(select(User.id).where(User.id == user_id)) is None:
        raise NotFound
