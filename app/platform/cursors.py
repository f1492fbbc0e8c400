"""Cursors of lists in the order of (moment, id). A cursor says where a page ended, so every page costs the same."""

import base64
from datetime import datetime, timedelta
from uuid import UUID

from app.platform.problems import FieldError, InvalidRequest


def encode(moment: datetime, row_id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {row_id}".encode()).decode()


def decode(cursor: str) -> tuple[datetime, UUID]:
    """The position that `encode` was given. Raises `InvalidRequest`."""
    try:
        moment, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        position = datetime.fromisoformat(moment), UUID(row_id)
    except ValueError:
        position = None
    if position is None or position[0].utcoffset() != timedelta(0):
        raise InvalidRequest(
            errors=[FieldError("query.cursor", "invalid_cursor", "Send the `next_cursor` of an earlier page.")]
        )
    return position
