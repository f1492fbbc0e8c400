"""Django: `dumpdata` of `auth.user`, or of an app's own model of a user, as JSON or as JSONL."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.admin.formats import json_rows
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, address_of, joined, moment, truth, user
from app.platform.problems import UnreadableImport

UNUSABLE = "!"
"""Stands before what Django stores for a user who cannot sign in by password."""


def read(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """The users of the dump. Rows of other models are passed over."""
    users, others = 0, 0
    for row in json_rows.array_or_lines(chunks):
        if isinstance(row, RowProblem) or _is_user(row):
            users += 1
            yield row
        else:
            others += 1
    if others and not users:
        raise UnreadableImport("The dump has no users. Make it with `manage.py dumpdata auth.user`, or your own model.")


def _is_user(row: Record) -> bool:
    """Whether the row has the columns of Django's AbstractBaseUser. A row that is no row of a dump is told as wrong."""
    fields = row.get("fields")
    if not isinstance(fields, dict) or "model" not in row:
        return True
    return row["model"] == "auth.user" or ("password" in fields and bool(fields.keys() & {"last_login", "is_active"}))


def take(record: Record) -> ImportedUser:
    fields = record.get("fields")
    if not isinstance(fields, dict):
        raise Refused("malformed_row", "The row is none of `dumpdata`: it has no `fields`.")
    active = fields.get("is_active")
    chief = any(truth(fields.get(member), member) for member in ("is_superuser", "is_staff"))
    return user(
        email=address_of(fields.get("email"), fields.get("username")),
        email_verified=_first(fields, "email_verified", "is_email_verified"),
        display_name=joined(fields.get("first_name"), fields.get("last_name"))
        or joined(_first(fields, "display_name", "full_name", "name")),
        password_hash=_hash(fields.get("password")),
        created_at=moment(_first(fields, "date_joined", "created_at"), "date_joined"),
        disabled=not truth(True if active is None else active, "is_active"),
        role="staff" if chief else "user",
    )


def _first(fields: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of these columns that has one: apps' own models name them differently."""
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _hash(stored: object) -> str | None:
    if stored is None or stored == "":
        return None
    if not isinstance(stored, str):
        raise Refused("invalid_value", "`password` is not text.")
    return None if stored.startswith(UNUSABLE) else stored
