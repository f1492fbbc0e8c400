"""A row of an import: what it may contain, and what can be wrong with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.crypto.password_hashes import UnusableHash, stored_spelling
from app.platform.printable import cleaned
from app.records import addresses
from app.records.addresses import Address

Record = Mapping[str, Any]
LONGEST_NAME = 100
LONGEST_HASH = 512
"""Characters. A longer hash is refused unread; stored ones are shorter."""
FIRST_YEAR = 1970


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A stable code and a sentence. The sentence never repeats the row's content."""

    code: str
    message: str


class Refused(Exception):
    """The row is left out."""

    def __init__(self, code: str, message: str) -> None:
        self.problem = RowProblem(code, message)
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A valid row. `role` is the role in the other system. Here everybody becomes a `user`."""

    address: Address
    email_verified: bool
    display_name: str | None
    password_hash: str | None
    created_at: datetime | None
    disabled: bool
    role: str = "user"
    former_id: str | None = None
    awaits_password: bool = False
    """For Cognito, which exports no hash: the first sign-in brings the password."""


def user(
    *,
    email: object,
    email_verified: object = None,
    display_name: object = None,
    password_hash: str | None = None,
    created_at: datetime | None = None,
    disabled: object = None,
    role: str = "user",
    former_id: str | None = None,
    awaits_password: bool = False,
) -> ImportedUser:
    """The user of a row. Raises `Refused` for the first invalid value: a row is never imported in part."""
    return ImportedUser(
        address=_address(email),
        email_verified=truth(email_verified, "email_verified"),
        display_name=_name(display_name),
        password_hash=_hash(password_hash),
        created_at=created_at,
        disabled=truth(disabled, "disabled"),
        role=role,
        former_id=former_id,
        awaits_password=awaits_password,
    )


def text_or_none(value: object, member: str) -> str | None:
    """Text without surrounding spaces; None if missing or empty."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused("invalid_value", f"`{member}` is not text.")
    return value.strip() or None


_TRUTHS = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}


def truth(value: object, member: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    text = (text_or_none(value, member) or "false").lower()
    if text not in _TRUTHS:
        raise Refused("invalid_value", f"`{member}` is neither true nor false.")
    return _TRUTHS[text]


def moment(value: object, member: str) -> datetime | None:
    """RFC 3339, also with a space, or without a zone, which means UTC, such as `2024-01-02 03:04:05+00`."""
    text = text_or_none(value, member)
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text.removesuffix(" UTC"))
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused("invalid_value", f"`{member}` is not a time such as 2026-01-31T12:00:00Z.") from None
    return _plausible(parsed, member)


def milliseconds(value: object, member: str) -> datetime | None:
    """Milliseconds since 1970, as a number or as text."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,14}", str(value)):
        raise Refused("invalid_value", f"`{member}` is not a number of milliseconds since 1970.")
    return _plausible(datetime.fromtimestamp(int(str(value)) / 1000, UTC), member)


def _plausible(parsed: datetime, member: str) -> datetime:
    if not FIRST_YEAR <= parsed.year < 9999:
        raise Refused("invalid_value", f"`{member}` is before 1970, or far in the future.")
    return parsed


def _address(value: object) -> Address:
    text = text_or_none(value, "email")
    if text is None:
        raise Refused("missing_email", "The row has no e-mail address, so nobody could sign in.")
    address = addresses.find(text)
    if address is None:
        raise Refused("invalid_email", "This is not an e-mail address.")
    return address


def _name(value: object) -> str | None:
    """The name as far as it can be shown. A user is worth more than a name, so none is refused."""
    return cleaned(value, LONGEST_NAME) if isinstance(value, str) else None


def _hash(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) > LONGEST_HASH:
        raise Refused("unsupported_hash", "The password hash is longer than any supported one.")
    try:
        return stored_spelling(text)
    except UnusableHash as unusable:
        raise Refused("unsupported_hash", str(unusable)) from None
