"""Adds many users at once, and leaves out those whose id or address is taken.

On PostgreSQL they come by COPY, which takes a fraction of the work of an INSERT that looks for conflicts.
"""

import functools
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import psycopg
from sqlalchemy import JSON, Connection, Table, Text, any_, bindparam, column, func, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from app.records.models import User

USERS = cast(Table, User.__table__)


class NewUser(NamedTuple):
    """A row of the table, as far as an import knows it."""

    id: UUID
    email: str
    email_key: str
    email_verified_at: datetime | None
    display_name: str | None
    password_hash: str | None
    password_from: str | None
    status: str
    created_at: datetime


def add(session: Session, import_id: UUID, users: Iterable[NewUser]) -> Sequence[UUID]:
    """The ids of those that an import added. Of several with one address, the first is added.

    They are added in the order of their addresses, so that two callers at once do not deadlock.
    """
    users = sorted(users, key=_key)
    if not users:
        return []
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        statement = sqlite.insert(USERS).on_conflict_do_nothing().returning(USERS.c.id)
        return connection.execute(statement, [_members(import_id, user) for user in users]).scalars().all()
    fresh = _fresh(connection, users)
    if fresh and not _copied(connection, import_id, fresh):  # another import has added one of them meanwhile
        return _inserted(connection, import_id, users)
    return [user.id for user in fresh]


def _key(user: NewUser) -> str:
    return user.email_key


def _members(import_id: UUID, user: NewUser) -> dict[str, Any]:
    return {**user._asdict(), "guest": False, "role": "user", "import_id": import_id}


def _fresh(connection: Connection, users: Sequence[NewUser]) -> list[NewUser]:
    """Those of a sorted list whose address nobody has yet, each address once."""
    taken = set(connection.execute(_TAKEN, {"keys": [user.email_key for user in users]}).scalars())
    return [
        user
        for before, user in zip([None, *users], users, strict=False)
        if (before is None or before.email_key != user.email_key) and user.email_key not in taken
    ]


_TAKEN = select(USERS.c.email_key).where(USERS.c.email_key == any_(bindparam("keys", type_=postgresql.ARRAY(Text))))


def _copied(connection: Connection, import_id: UUID, users: Sequence[NewUser]) -> bool:
    """Whether they were added: all of them, or none if one breaks a constraint."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    rest = f"f\tuser\t{import_id}\n"
    text = "".join(f"{_cells(user)}\t{rest}" for user in users)
    try:
        with driver.transaction(), driver.cursor() as cursor, cursor.copy(_COPY) as copy:  # up to a savepoint
            copy.write(text)
    except psycopg.IntegrityError:
        return False
    except psycopg.Error as error:  # as SQLAlchemy raises those of its own statements
        raise DBAPIError.instance("COPY users", None, error, psycopg.Error, dialect=connection.dialect) from error
    return True


COLUMNS = (*NewUser._fields, "guest", "role", "import_id")
_COPY = f"COPY users ({', '.join(COLUMNS)}) FROM STDIN".encode()
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _cells(user: NewUser) -> str:
    """In COPY's own text format, of which a line ends with more."""
    (user_id, email, key, verified_at, name, password_hash, password_from, status, created_at) = user
    if _SPECIAL.search(f"{email}{key}{name}{password_hash}{password_from}"):
        email, key = email.translate(_ESCAPES), key.translate(_ESCAPES)
        name, password_hash, password_from = (
            text and text.translate(_ESCAPES) for text in (name, password_hash, password_from)
        )
    return (
        f"{user_id}\t{email}\t{key}\t{_moment(verified_at)}\t{_cell(name)}\t{_cell(password_hash)}\t"
        f"{_cell(password_from)}\t{status}\t{_moment(created_at)}"
    )


def _cell(text: str | None) -> str:
    return "\\N" if text is None else text


def _moment(moment: datetime | None) -> str:
    return "\\N" if moment is None else moment.isoformat()


def _inserted(connection: Connection, import_id: UUID, users: Sequence[NewUser]) -> Sequence[UUID]:
    parameters = {"rows": json.dumps([_members(import_id, user) for user in users], default=str)}
    return connection.execute(_insert(), parameters).scalars().all()


@functools.cache
def _insert() -> ReturningInsert[UUID]:
    """Its rows are one JSON text. A statement with many VALUES would take ten times as long."""
    given = (
        func.json_to_recordset(sql_cast(bindparam("rows", type_=Text), JSON))
        .table_valued(*(column(name, USERS.c[name].type) for name in COLUMNS), name="given")
        .render_derived(with_types=True)
    )
    rows = select(*(given.c[name] for name in COLUMNS))
    return postgresql.insert(USERS).from_select(COLUMNS, rows).on_conflict_do_nothing().returning(USERS.c.id)
