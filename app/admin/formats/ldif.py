"""LDIF (RFC 2849): the people of a directory, as `slapcat`, `ldapsearch` and `ldifde` write them.

Photos and other attributes that no account has are passed over unread, so they do not make an entry too long.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from app.admin.formats.records import MALFORMED, MOST_BYTES, NOT_UTF8, TOO_LONG, pieces
from app.admin.formats.rows import LONGEST_HASH, ImportedUser, Record, Refused, RowProblem, joined, truth, user
from app.crypto.password_hashes import UnusableHash, stored_spelling
from app.platform.problems import UnreadableImport

WANTED = frozenset(
    {
        *("dn", "changetype", "objectclass", "mail", "userpassword", "cn", "displayname", "givenname", "sn"),
        *("createtimestamp", "whencreated", "useraccountcontrol", "nsaccountlock", "pwdaccountlockedtime"),
    }
)
PERSONS = frozenset({"person", "organizationalperson", "inetorgperson", "posixaccount", "account", "user"})
MACHINES = frozenset({"computer", "device"})
DISABLED = 2
"""Bit of Active Directory's `userAccountControl`."""
LOCKED_FOR_EVER = "000001010000Z"
"""What OpenLDAP's password policy writes of an account that only an administrator unlocks."""
URL = RowProblem("malformed_row", "A value of the entry is only an address (`:<`), which is never followed.")
_GENERALIZED = re.compile(r"(\d{14})(?:[.,]\d+)?Z")


def read(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """The entries of people. Groups, units and machines are passed over. Raises `UnreadableImport`."""
    found = 0
    for entry in _entries(pieces(chunks)):
        found += 1
        if isinstance(entry, RowProblem) or _is_person(entry):
            yield entry
    if not found:
        raise UnreadableImport("The file is no LDIF: it has no entry that begins with `dn:`.")


def take(record: Record) -> ImportedUser:
    control = _first(record, "useraccountcontrol") or "0"
    disabled = control.isdecimal() and int(control) & DISABLED != 0
    disabled |= truth(_first(record, "nsaccountlock"), "nsAccountLock")
    disabled |= _first(record, "pwdaccountlockedtime") == LOCKED_FOR_EVER
    return user(
        email=_first(record, "mail"),
        display_name=_first(record, "displayname")
        or _first(record, "cn")
        or joined(_first(record, "givenname"), _first(record, "sn")),
        password_hash=_hash(record.get("userpassword", [])),
        created_at=_moment(_first(record, "createtimestamp") or _first(record, "whencreated")),
        disabled=disabled,
    )


def _hash(stored: list[str]) -> str | None:
    """The first value that is understood: a directory may keep several hashes of one password."""
    for value in stored:
        with contextlib.suppress(UnusableHash):
            if len(value) <= LONGEST_HASH:
                return stored_spelling(value)
    return stored[0] if stored else None


def _moment(text: str | None) -> datetime | None:
    match = _GENERALIZED.fullmatch(text or "")
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("invalid_value", "`createTimestamp` is not a time.") from None


def _first(record: Record, name: str) -> str | None:
    values = record.get(name)
    return values[0] if values else None


def _is_person(entry: Record) -> bool:
    classes = {value.lower() for value in entry.get("objectclass", [])}
    return not classes & MACHINES and bool(classes & PERSONS or entry.keys() & {"mail", "userpassword"})


def _entries(found: Iterator[bytes]) -> Iterator[Record | RowProblem]:
    """An empty line ends an entry. What stands before the first `dn:` is none, such as `version: 1`."""
    entry = _Entry()
    for line in _unfolded(found):
        if line is None:
            yield from entry.ended()
            entry = _Entry()
        else:
            entry.add(line)
    yield from entry.ended()


def _unfolded(found: Iterator[bytes]) -> Iterator[tuple[bytes, bytes] | RowProblem | None]:
    """The lines of wanted attributes as names and values, comments left out. None for an empty line."""
    name, value = b"", bytearray()
    begins, size = True, 0
    for piece in found:
        text = piece.rstrip(b"\r\n")
        if begins and not piece.startswith(b" "):
            if name:
                yield TOO_LONG if size > MOST_BYTES else (name, bytes(value))
            name, _, rest = text.partition(b":")
            name = name.partition(b";")[0].lower()
            value, size = bytearray(rest), len(rest)
            if not text:
                yield None
            if name.decode("ascii", "replace") not in WANTED:  # a comment neither
                name = b""
        elif name and size <= MOST_BYTES:
            more = text[1:] if begins else text
            size += len(more)
            value += more
        begins = piece.endswith(b"\n")
    if name:
        yield TOO_LONG if size > MOST_BYTES else (name, bytes(value))


class _Entry:
    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self._problem: RowProblem | None = None
        self._size = 0

    def add(self, line: tuple[bytes, bytes] | RowProblem) -> None:
        if isinstance(line, RowProblem):
            self._problem = line
            return
        name, value = line
        self._size += len(name) + len(value)
        if self._size > MOST_BYTES:
            self._problem, self._values = TOO_LONG, {}
            return
        try:
            self._values.setdefault(name.decode(), []).append(_decoded(value))
        except UnicodeDecodeError:
            self._problem = NOT_UTF8
        except (ValueError, binascii.Error):
            self._problem = MALFORMED
        except Refused as refused:
            self._problem = refused.problem

    def ended(self) -> Iterator[Record | RowProblem]:
        if self._problem is not None:
            yield self._problem
        elif "dn" not in self._values:
            return
        elif self._values.get("changetype", ["add"]) != ["add"]:
            yield RowProblem("malformed_row", "The entry is a change, and no entry of a directory.")
        else:
            yield self._values


def _decoded(value: bytes) -> str:
    """What stands behind `name:`. Raises `Refused`, ValueError."""
    if value.startswith(b"<"):
        raise Refused(URL.code, URL.message)
    if value.startswith(b":"):
        return base64.b64decode(value[1:].strip(), validate=True).decode("utf-8")
    return value.lstrip(b" ").decode("utf-8")
