"""Cursors of lists in the order of (moment, id). A cursor says where a page ended, so every page costs the same."""

import base64
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from app.platform.problems import FieldError, InvalidRequest

RowId = TypeVar("RowId", UUID, int)


def encode(moment: datetime, row_id: UUID | int) -> str:
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {row_id}".encode()).decode()


def decode(cursor: str, kind: type[RowId]) -> tuple[datetime, RowId]:
    """The position that `encode` was given, with an id of that kind. Raises `InvalidRequest`."""
    try:
        moment, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        at, found = moment_of(moment), kind(row_id)
    except ValueError:
        raise invalid_cursor() from None
    if isinstance(found, int) and not 0 <= found < 2**63:
        raise invalid_cursor()
    return at, found


def moment_of(text: str) -> datetime:
    """A time in UTC, as a cursor has it. Raises `InvalidRequest`, `ValueError`."""
    at = datetime.fromisoformat(text)
    if at.utcoffset() != timedelta(0):
        raise invalid_cursor()
    return at


def invalid_cursor() -> InvalidRequest:
    return InvalidRequest(
        errors=[FieldError("query.cursor", "invalid_cursor", "Send the `next_cursor` of an earlier page.")]
    )
