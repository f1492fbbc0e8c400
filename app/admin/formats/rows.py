"""A row of an import: what it may contain, and what can be wrong with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.crypto import respelling
from app.crypto.password_hashes import UnusableHash, stored_spelling
from app.platform.printable import cleaned
from app.records import addresses
from app.records.addresses import Address

Record = Mapping[str, Any]
LONGEST_NAME = 100
LONGEST_HASH = respelling.LONGEST
"""Characters. A longer hash is refused unread; stored ones are shorter."""
FIRST_YEAR = 1970


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A stable code and a sentence. The sentence never repeats the row's content."""

    code: str
    message: str
    instead: "ImportedUser | None" = field(default=None, compare=False, repr=False)
    """The user without a password, if the hash is all that is wrong."""


class Refused(Exception):
    """The row is left out."""

    def __init__(self, code: str, message: str) -> None:
        self.problem = RowProblem(code, message)
        super().__init__(code)


class ImportedUser(NamedTuple):
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
    lost_hash: bool = False
    """Whether there was a hash that is not supported."""
    banned_until: datetime | None = None
    """The user is disabled if this is still ahead."""
    second_factor: bool = False
    """Whether the user had one there. None is taken over."""


def user(
    *,
    email: object,
    email_verified: object = None,
    display_name: object = None,
    password_hash: str | Refused | None = None,
    created_at: datetime | None = None,
    disabled: object = None,
    role: str = "user",
    former_id: str | None = None,
    awaits_password: bool = False,
    banned_until: datetime | None = None,
    second_factor: bool = False,
) -> ImportedUser:
    """The user of a row. Raises `Refused` for the first invalid value, the hash last.

    `password_hash`: a refusal says why there is none that could be read.
    """
    lost: Refused | None = None
    stored = None
    try:
        stored = None if password_hash is None else _hash(password_hash)
    except Refused as refused:
        lost = refused
    made = ImportedUser(
        address=_address(email),
        email_verified=truth(email_verified, "email_verified"),
        display_name=_name(display_name),
        password_hash=stored,
        created_at=created_at,
        disabled=truth(disabled, "disabled"),
        role=role,
        former_id=former_id,
        awaits_password=awaits_password,
        lost_hash=lost is not None,
        banned_until=banned_until,
        second_factor=second_factor,
    )
    if lost is not None:
        lost.problem = replace(lost.problem, instead=made)
        raise lost
    return made


def text_or_none(value: object, member: str) -> str | None:
    """Text without surrounding spaces; None if missing or empty."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused("invalid_value", f"`{member}` is not text.")
    return value.strip() or None


_TRUTHS = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}


def truth(value: object, member: str) -> bool:
    """Also 0 and 1, which SQLite and MySQL have."""
    if value is None or isinstance(value, bool) or (type(value) is int and value in (0, 1)):
        return bool(value)
    text = (text_or_none(value, member) or "false").lower()
    if text not in _TRUTHS:
        raise Refused("invalid_value", f"`{member}` is neither true nor false.")
    return _TRUTHS[text]


_SINCE_1970 = re.compile(r"\d{9,14}(?:\.\d{1,9})?")
"""Seconds since 1970 from 1973 on, or milliseconds."""
FIRST_MILLISECOND = 1e11
"""Smaller numbers are seconds: in milliseconds they would be of 1973, and larger ones in seconds of the year 5138."""


def moment(value: object, member: str) -> datetime | None:
    """RFC 3339, also with a space, or without a zone, which means UTC, such as `2024-01-02 03:04:05+00`.

    Also seconds or milliseconds since 1970, as a number or as text, and a date as MongoDB and Parse export it.
    """
    value = _bare(value)
    text = text_or_none(str(value) if type(value) in (int, float) else value, member)
    if text is None:
        return None
    try:
        if _SINCE_1970.fullmatch(text):
            seconds = float(text)
            return datetime.fromtimestamp(seconds if seconds < FIRST_MILLISECOND else seconds / 1000, UTC)
        parsed = datetime.fromisoformat(text.removesuffix(" UTC"))
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused("invalid_value", f"`{member}` is not a time such as 2026-01-31T12:00:00Z.") from None
    return _plausible(parsed, member)


def _bare(value: object) -> object:
    """What is within `{"$date": …}`, `{"$date": {"$numberLong": …}}` or `{"__type": "Date", "iso": …}`."""
    for member in ("$date", "$numberLong", "iso"):
        if isinstance(value, dict) and member in value:
            value = value[member]
    return value


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


def joined(*parts: object) -> str | None:
    """A name of its parts; None if no part is text."""
    return " ".join(part.strip() for part in parts if isinstance(part, str) and part.strip()) or None


def address_of(email: object, username: object) -> object:
    """The address, or the name for signing in where that is one, as in many apps that ask for an address alone."""
    if isinstance(email, str) and not email.strip():
        email = None
    return username if email is None and isinstance(username, str) and "@" in username else email


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


def _hash(text: str | Refused) -> str:
    if isinstance(text, Refused):
        raise text
    if len(text) > LONGEST_HASH:
        raise Refused("unsupported_hash", "The password hash is longer than any supported one.")
    try:
        return stored_spelling(text)
    except UnusableHash as unusable:
        raise Refused("unsupported_hash", str(unusable)) from None
