"""Pages of a list, newest first by (moment, id). Each page costs the same, however deep it is."""

from collections.abc import Sequence
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import Row, Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.platform import cursors

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Key = InstrumentedAttribute[Any]


def page(
    session: Session, rows: Select[T], moment: Key, row_id: Key, *, limit: int, cursor: str | None
) -> tuple[Sequence[T], str | None]:
    """`page_of_rows` where each row is one record."""
    found, next_cursor = page_of_rows(session, rows, moment, row_id, limit=limit, cursor=cursor)
    return [record for (record,) in found], next_cursor


def page_of_rows(
    session: Session, rows: Select[*Ts], moment: Key, row_id: Key, *, limit: int, cursor: str | None
) -> tuple[Sequence[Row[*Ts]], str | None]:
    """Up to `limit` rows after the cursor, and the cursor of the next page, or None. Raises `InvalidRequest`.

    The first member of a row is the record that has the moment and the id.
    """
    if cursor is not None:
        rows = rows.where(tuple_(moment, row_id) < cursors.decode(cursor, row_id.type.python_type))
    found = session.execute(rows.order_by(moment.desc(), row_id.desc()).limit(limit + 1)).all()
    if len(found) <= limit:
        return found, None
    last: Any = found[limit - 1]
    return found[:limit], cursors.encode(getattr(last[0], moment.key), getattr(last[0], row_id.key))
