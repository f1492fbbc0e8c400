"""This service's own: what `tokenvend users export` and `GET /v1/admin/user-exports` write."""

from app.admin.formats.rows import ImportedUser, Record, Refused, moment, text_or_none, user

COLUMNS = ("id", "email", "email_verified", "display_name", "status", "role", "created_at", "password_hash")
LONGEST_WORD = 64
"""Characters of an id or of a role."""
FORMULA = tuple("=+-@＝＋－＠")
"""What a spreadsheet takes for a formula at the beginning of a cell (CWE-1236)."""


def take(record: Record) -> ImportedUser:
    if not record.keys() <= set(COLUMNS):  # a misspelt `password_hash` would be a user without one
        raise Refused("unknown_member", f"The row has a member that is none of {', '.join(COLUMNS)}.")
    status = text_or_none(record.get("status"), "status") or "active"
    if status not in ("active", "disabled"):
        raise Refused("invalid_value", "`status` is neither active nor disabled.")
    return user(
        email=_plain(record.get("email")),
        email_verified=record.get("email_verified"),
        display_name=_plain(record.get("display_name")),
        password_hash=text_or_none(record.get("password_hash"), "password_hash"),
        created_at=moment(record.get("created_at"), "created_at"),
        disabled=status == "disabled",
        role=_short(record.get("role"), "role") or "user",
        former_id=_short(record.get("id"), "id"),
    )


def _short(value: object, member: str) -> str | None:
    """Rows wait in memory by the thousand: what is kept of each is bounded."""
    text = text_or_none(value, member)
    if text is not None and len(text) > LONGEST_WORD:
        raise Refused("invalid_value", f"`{member}` has over {LONGEST_WORD} characters.")
    return text


def harmless(value: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before what might be one."""
    return f"'{value}" if value.startswith((*FORMULA, "'")) else value


def _plain(value: object) -> object:
    """The inverse of `harmless`."""
    if isinstance(value, str) and value.startswith("'") and value[1:].startswith((*FORMULA, "'")):
        return value[1:]
    return value
