"""Exports all users who have an address and are not erased, for an import elsewhere, or a list as it is, oldest first.

A guest has no address. The account belongs to one device, which could not open it in another system.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeVarTuple
from uuid import UUID

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from app.admin.formats import native
from app.admin.formats.spreadsheet import csv_line
from app.admin.user_filters import MFA_ENABLED, Filters
from app.admin.users import require_admin
from app.platform.db import PLANNED_ANEW
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import User

PAGE = 1_000
"""Users that an export holds in memory."""
Format = Literal["csv", "ndjson"]
Columns = Literal["import", "list"]
LIST_COLUMNS = (
    *("id", "email", "email_verified", "display_name", "status", "role", "guest", "mfa_enabled"),
    *("created_at", "last_seen_at", "import_id", "quota_bytes"),
)
Ts = TypeVarTuple("Ts")
Position = tuple[datetime, UUID]


class Listed(NamedTuple):
    """A user of a list."""

    user: User
    mfa_enabled: bool


def begin(
    session: Session,
    origin: Origin,
    now: datetime,
    actor: Actor | None,
    *,
    with_hashes: bool,
    filters: Filters | None = None,
) -> None:
    """Audits who exports which users. What was searched for is somebody's name or address, and is left out."""
    given = {} if filters is None else {f"of_{name}": str(value) for name, value in filters.given().items()}
    audit.record(
        session,
        origin,
        "users.exported",
        now,
        actor_id=actor.user_id if actor else None,
        session_id=actor.session_id if actor else None,
        with_hashes=str(with_hashes).lower(),
        **given,  # type: ignore[arg-type]
    )


def page(session: Session, now: datetime, actor: Actor | None, after: Position | None) -> Sequence[User]:
    """The next `PAGE` users, while the actor may have them. Raises `InvalidToken`, `Forbidden`."""
    if actor is not None:
        require_admin(session, now, actor)
    rows = select(User).where(User.status != "erased", User.email.is_not(None))
    return session.scalars(_next(rows, after)).all()


def list_page(
    session: Session, now: datetime, actor: Actor, filters: Filters, after: Position | None
) -> Sequence[Listed]:
    """The next `PAGE` users of a list, guests and erased users too. Raises `InvalidToken`, `Forbidden`."""
    require_admin(session, now, actor)
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    rows = select(User, MFA_ENABLED.label("mfa_enabled")).where(*filters.all_conditions(on_sqlite=on_sqlite))
    rows = _next(rows, after).execution_options(**{PLANNED_ANEW: filters.query is not None})
    return [Listed(*row) for row in session.execute(rows)]


def _next(rows: Select[*Ts], after: Position | None) -> Select[*Ts]:
    if after is not None:
        rows = rows.where(tuple_(User.created_at, User.id) > after)
    return rows.order_by(User.created_at, User.id).limit(PAGE)


def position(user: User) -> Position:
    return user.created_at, user.id


def columns(*, with_hashes: bool) -> Sequence[str]:
    return native.COLUMNS if with_hashes else native.COLUMNS[:-1]


def header(form: Format, *, with_hashes: bool) -> str:
    return csv_line(columns(with_hashes=with_hashes)) if form == "csv" else ""


def line(form: Format, user: User, *, with_hashes: bool) -> str:
    """A user in the format that this service's import reads."""
    shown = _shown(user)
    if form == "csv":
        return csv_line(_cell(shown[name]) for name in columns(with_hashes=with_hashes))
    return (
        json.dumps({name: shown[name] for name in columns(with_hashes=with_hashes)}).replace("\x7f", "\\u007f") + "\n"
    )


def list_header(form: Format) -> str:
    return csv_line(LIST_COLUMNS) if form == "csv" else ""


def list_line(form: Format, listed: Listed) -> str:
    """A user of a list, with what the list shows."""
    user = listed.user
    shown = {
        **_shown(user),
        "guest": user.guest,
        "mfa_enabled": listed.mfa_enabled,
        "last_seen_at": _moment(user.last_seen_at),
        "import_id": user.import_id and str(user.import_id),
        "quota_bytes": user.quota_bytes,
    }
    if form == "csv":
        return csv_line(_cell(shown[name]) for name in LIST_COLUMNS)
    return json.dumps({name: shown[name] for name in LIST_COLUMNS}).replace("\x7f", "\\u007f") + "\n"


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _shown(user: User) -> Mapping[str, Any]:
    return {
        "id": str(user.id),
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
        "display_name": user.display_name,
        "status": user.status,
        "role": user.role,
        "created_at": _moment(user.created_at),
        "password_hash": user.password_hash,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
