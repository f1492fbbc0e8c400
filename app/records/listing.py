"""Pages of a list, newest first by (moment, id) or in another order. Each page costs the same, however deep it is."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar, TypeVarTuple

from sqlalchemy import ColumnElement, Row, Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.platform import cursors
from app.records.models import UtcDateTime

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Key = InstrumentedAttribute[Any]
Direction = Literal["asc", "desc"]


def page(
    session: Session, rows: Select[T], moment: Key, row_id: Key, *, limit: int, cursor: str | None
) -> tuple[Sequence[T], str | None]:
    """`page_of_rows` where each row is one record."""
    found, next_cursor = page_of_rows(session, rows, moment, row_id, limit=limit, cursor=cursor)
    return [record for (record,) in found], next_cursor


def merged_page(
    session: Session, lists: Sequence[Select[T]], moment: Key, row_id: Key, *, limit: int, cursor: str | None
) -> tuple[Sequence[T], str | None]:
    """`page` of the rows that are in any of the lists, each read by an index of its own."""
    found: dict[Any, Any] = {}
    more = False
    for rows in lists:
        some, next_cursor = page(session, rows, moment, row_id, limit=limit, cursor=cursor)
        found |= {getattr(record, row_id.key): record for record in some}
        more = more or next_cursor is not None

    def place(record: Any) -> tuple[Any, Any]:
        return getattr(record, moment.key), getattr(record, row_id.key)

    merged = sorted(found.values(), key=place, reverse=True)
    if len(merged) <= limit and not more:
        return merged, None
    return merged[:limit], cursors.encode(*place(merged[limit - 1]))


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


@dataclass(frozen=True)
class Order:
    """An order by a column, then by id, up or down. Rows without a value come last, either way."""

    name: str
    key: Key
    descending: bool
    known: Sequence[ColumnElement[bool]] = ()
    """More conditions on the rows that have a value."""

    @property
    def is_newest_first(self) -> bool:
        return self.descending and self.name == "created_at"


class _Position(NamedTuple):
    value: Any
    """None in the part without values."""
    row_id: Any


def page_in_order(
    session: Session, rows: Select[*Ts], order: Order, row_id: Key, *, limit: int, cursor: str | None
) -> tuple[Sequence[Row[*Ts]], str | None]:
    """`page_of_rows` in any order. A cursor of another order is refused.

    The part with values and the part without are two statements, because one condition on both uses no index.
    """
    if order.is_newest_first:  # the cursors of earlier versions still work
        return page_of_rows(session, rows, order.key, row_id, limit=limit, cursor=cursor)
    after = None if cursor is None else _decode(cursor, order, row_id)
    found: list[Row[*Ts]] = []
    by = (order.key.desc(), row_id.desc()) if order.descending else (order.key, row_id)
    if after is None or after.value is not None:
        part = rows.where(order.key.is_not(None), *order.known)
        if after is not None:
            part = part.where(_beyond(tuple_(order.key, row_id), after, order))
        found += session.execute(part.order_by(*by).limit(limit + 1)).all()
    if len(found) <= limit and order.key.property.columns[0].nullable:
        part = rows.where(order.key.is_(None))
        if after is not None and after.value is None:
            part = part.where(_beyond(row_id, after.row_id, order))
        found += session.execute(part.order_by(*by).limit(limit + 1 - len(found))).all()
    if len(found) <= limit:
        return found, None
    last: Any = found[limit - 1]
    return found[:limit], _encode(order, getattr(last[0], order.key.key), getattr(last[0], row_id.key))


def _beyond(place: Any, after: Any, order: Order) -> ColumnElement[bool]:
    beyond: ColumnElement[bool] = place < after if order.descending else place > after
    return beyond


def _encode(order: Order, value: Any, row_id: Any) -> str:
    shown = value.isoformat() if isinstance(value, datetime) else value
    position = [order.name, order.descending, shown, str(row_id)]
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode()


def _decode(cursor: str, order: Order, row_id: Key) -> _Position:
    """Raises `InvalidRequest`."""
    try:
        name, descending, value, found = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if (name, descending) != (order.name, order.descending) or not isinstance(value, str | None):
            raise cursors.invalid_cursor()
        if value is not None and isinstance(order.key.type, UtcDateTime):
            return _Position(cursors.moment_of(value), row_id.type.python_type(found))
        if value is not None and "\0" in value:
            raise cursors.invalid_cursor()
        return _Position(value, row_id.type.python_type(found))
    except (ValueError, TypeError, AttributeError):
        raise cursors.invalid_cursor() from None
