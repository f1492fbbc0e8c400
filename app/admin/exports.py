"""Exports all users who have an address and are not erased, oldest first.

A guest has no address. The account belongs to one device, which could not open it in another system.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.admin.formats import native
from app.admin.formats.spreadsheet import csv_line
from app.admin.users import require_admin
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import User

PAGE = 1_000
"""Users that an export holds in memory."""
Format = Literal["csv", "ndjson"]
Position = tuple[datetime, UUID]


def begin(session: Session, origin: Origin, now: datetime, actor: Actor | None, *, with_hashes: bool) -> None:
    """Audits who exports the users."""
    audit.record(
        session,
        origin,
        "users.exported",
        now,
        actor_id=actor.user_id if actor else None,
        session_id=actor.session_id if actor else None,
        with_hashes=str(with_hashes).lower(),
    )


def page(session: Session, now: datetime, actor: Actor | None, after: Position | None) -> Sequence[User]:
    """The next `PAGE` users, while the actor may have them. Raises `InvalidToken`, `Forbidden`."""
    if actor is not None:
        require_admin(session, now, actor)
    rows = select(User).where(User.status != "erased", User.email.is_not(None))
    if after is not None:
        rows = rows.where(tuple_(User.created_at, User.id) > after)
    return session.scalars(rows.order_by(User.created_at, User.id).limit(PAGE)).all()


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


def _shown(user: User) -> Mapping[str, Any]:
    return {
        "id": str(user.id),
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
        "display_name": user.display_name,
        "status": user.status,
        "role": user.role,
        "created_at": user.created_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "password_hash": user.password_hash,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
