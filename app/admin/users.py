"""Users as administrators see them: a search by part of the address or name, newest first, and single users."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Uuid,
    and_,
    column,
    exists,
    func,
    literal,
    or_,
    select,
    table,
    union_all,
)
from sqlalchemy.orm import Session

from app.auth import sessions
from app.platform.problems import Forbidden, InvalidToken, NotFound
from app.records import addresses, listing
from app.records.actor import Actor
from app.records.models import DeviceSession, IssuedCredential, TotpFactor, Usage, User
from app.vending import ledger

Status = Literal["active", "disabled", "erased"]
Role = Literal["user", "support", "admin"]
TRIGRAM = 3
"""Characters in an entry of the text indexes. A shorter query matches the beginning of an address."""
LAST_CHARACTER = "\U0010ffff"

_MFA_ENABLED = exists().where(TotpFactor.user_id == User.id, TotpFactor.confirmed_at.is_not(None))
NEWEST = 100
"""Sessions of a user, alive or ended, among which the last use is looked for, besides as many that are alive."""


def _newest(*which: ColumnElement[bool]) -> Select[tuple[datetime]]:
    newest = select(DeviceSession.last_used_at).where(DeviceSession.user_id == User.id, *which)
    ordered = newest.order_by(DeviceSession.created_at.desc(), DeviceSession.id.desc()).limit(NEWEST)
    return select(ordered.correlate(User).subquery().c.last_used_at)


_ALIVE = (DeviceSession.session_epoch == User.session_epoch, DeviceSession.ended_at.is_(None))
_USED = union_all(_newest(), _newest(*_ALIVE)).subquery()
_LAST_SEEN = select(func.max(_USED.c.last_used_at)).scalar_subquery()
_ACCOUNTS = select(User, _MFA_ENABLED.label("mfa_enabled"), _LAST_SEEN.label("last_seen_at"), Usage).outerjoin(
    Usage, Usage.user_id == User.id
)
# SQLite's text index, see the migration 2026112403.
_TEXT = table("users_text", column("rowid"), column("users_text"))
_TEXT_ROWS = table("users_text_rows", column("number"), column("user_id", Uuid()))


@dataclass(frozen=True)
class Account:
    user: User
    mfa_enabled: bool
    """Whether the user has an authenticator app."""
    last_seen_at: datetime | None
    """When one of the user's sessions was last used."""
    usage: Usage | None


def search(
    session: Session,
    *,
    query: str | None,
    status: Status | None,
    role: Role | None,
    created_after: datetime | None,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Account], str | None]:
    """One page of the users that fit, newest first, and the cursor of the next. Raises `InvalidRequest`."""
    rows = _ACCOUNTS
    if query and (query := addresses.trimmed(query)):
        rows = rows.where(_matches(query, on_sqlite=session.get_bind().dialect.name == "sqlite"))
    # Literals, because only with them SQLite uses a partial index.
    if status is not None:
        rows = rows.where(User.status == literal(status, literal_execute=True))
        if status != "active":
            rows = rows.where(User.status != literal("active", literal_execute=True))
    if role is not None:
        rows = rows.where(User.role == literal(role, literal_execute=True))
        if role != "user":
            rows = rows.where(User.role != literal("user", literal_execute=True))
    if created_after is not None:
        rows = rows.where(User.created_at > created_after)
    page, next_cursor = listing.page_of_rows(session, rows, User.created_at, User.id, limit=limit, cursor=cursor)
    return [Account(*row) for row in page], next_cursor


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


def _matches(query: str, *, on_sqlite: bool) -> ColumnElement[bool]:
    """Whether address or name contain the query, in any case. `%`, `_` and `"` in it have no special meaning."""
    if len(query) < TRIGRAM:
        start = addresses.fold(query)
        if on_sqlite:  # its LIKE with an escape character uses no index
            return and_(User.email_key >= start, User.email_key < start + LAST_CHARACTER)
        return User.email_key.startswith(start, autoescape=True)
    if on_sqlite:
        return User.id.in_(_with_text(query))
    pattern = "%" + "".join(f"/{c}" if c in "/%_" else c for c in query) + "%"
    return or_(*(text.ilike(pattern, escape="/") for text in (User.email, User.display_name)))


def _with_text(query: str) -> Select[tuple[UUID]]:
    phrase = '"' + query.replace('"', '""') + '"'
    text = _TEXT.join(_TEXT_ROWS, _TEXT_ROWS.c.number == _TEXT.c.rowid)
    return select(_TEXT_ROWS.c.user_id).select_from(text).where(_TEXT.c.users_text.op("MATCH")(phrase))
