"""This service's own format, which `tokenvend users export` and `GET /v1/admin/user-exports` write."""

from collections.abc import Iterable, Iterator

from app.admin.formats import records
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, moment, text_or_none, user
from app.admin.formats.spreadsheet import armed

COLUMNS = ("id", "email", "email_verified", "display_name", "status", "role", "created_at", "password_hash")
LONGEST_WORD = 64
"""Characters of an id or of a role."""
_COLUMNS = frozenset(COLUMNS)
_rows = records.csv_of("email", known=COLUMNS)


def read_csv(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """Reads CSV as `exports` writes it, and removes the apostrophes that protect spreadsheets from formulas."""
    for row in _rows(chunks):
        yield row if isinstance(row, RowProblem) else {name: armed(cell) for name, cell in row.items()}


def take(record: Record) -> ImportedUser:
    if not record.keys() <= _COLUMNS:  # with a misspelt `password_hash` the user would have none
        raise Refused("unknown_member", f"The row has a member other than {', '.join(COLUMNS)}.")
    status = text_or_none(record.get("status"), "status") or "active"
    if status not in ("active", "disabled"):
        raise Refused("invalid_value", "`status` is neither active nor disabled.")
    return user(
        email=record.get("email"),
        email_verified=record.get("email_verified"),
        display_name=record.get("display_name"),
        password_hash=text_or_none(record.get("password_hash"), "password_hash"),
        created_at=moment(record.get("created_at"), "created_at"),
        disabled=status == "disabled",
        role=_short(record.get("role"), "role") or "user",
        former_id=_short(record.get("id"), "id"),
    )


def _short(value: object, member: str) -> str | None:
    """Text of a bounded length, because thousands of rows wait in memory."""
    text = text_or_none(value, member)
    if text is not None and len(text) > LONGEST_WORD:
        raise Refused("invalid_value", f"`{member}` has over {LONGEST_WORD} characters.")
    return text
