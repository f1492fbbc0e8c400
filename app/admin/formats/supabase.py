"""Supabase: the table `auth.users`, as CSV or in a pg_dump of its data (COPY or INSERT)."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from app.admin.formats.records import MISFIT, MOST_BYTES, NOT_UTF8, TOO_LONG, pieces
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, moment, text_or_none, truth, user
from app.platform.problems import UnreadableImport

_TABLE = rb'(?:"?auth"?\.)"?users"?'
_COPY = re.compile(rb"COPY " + _TABLE + rb" \(([^)]+)\) FROM stdin;\s*")
_ANY_COPY = re.compile(rb"COPY .* FROM stdin;\s*")
_INSERT = re.compile(rb"INSERT INTO " + _TABLE + rb" \(([^)]+)\) VALUES\s*")
_INSERT_WITHOUT_COLUMNS = re.compile(rb"INSERT INTO " + _TABLE + rb" VALUES")
_TUPLE = re.compile(rb"\((?:'[^']*+'|[^'()]++)*+\)")
_VALUE = re.compile(r"\s*(?:((?:'[^']*')+)|([A-Za-z0-9_.+-]+))\s*([,)])")
_DIVIDER = re.compile(rb"\s*+([,;])\s*+")
_SPACE = re.compile(rb"\s*+")
_QUOTE = re.compile(rb"'")
_QUOTE_OR_END = re.compile(rb"['()]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROL = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def take(record: Record) -> ImportedUser:
    if text_or_none(record.get("deleted_at"), "deleted_at"):
        raise Refused("deleted", "The user was deleted there.")
    password_hash = text_or_none(record.get("encrypted_password"), "encrypted_password")
    if password_hash is None and truth(record.get("is_sso_user"), "is_sso_user"):
        # Another user may have the same address and a password, and is the one who needs the account.
        raise Refused("sso_user", "The user signs in by single sign-on, whose first sign-in here makes an account.")
    for_ever, banned_until = _ban(record.get("banned_until"))
    return user(
        email=record.get("email"),
        email_verified=text_or_none(record.get("email_confirmed_at"), "email_confirmed_at") is not None,
        display_name=_name(record.get("raw_user_meta_data")),
        password_hash=password_hash,
        created_at=moment(record.get("created_at"), "created_at"),
        disabled=for_ever,
        banned_until=banned_until,
    )


def _ban(value: object) -> tuple[bool, datetime | None]:
    """Whether the ban has no end, and its end. Over is over; until then an administrator can end it."""
    text = text_or_none(value, "banned_until")
    try:
        return False, moment(text, "banned_until")
    except Refused:  # infinity, or a year that this service does not know
        return True, None


def _name(value: object) -> str | None:
    """The name from the usual members; None if the metadata is not a JSON object."""
    try:
        metadata = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict):
        return None
    names = (metadata.get(member) for member in ("display_name", "full_name", "name"))
    return next((name for name in names if isinstance(name, str) and name.strip()), None)


def read_dump(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """The rows of `auth.users` in a dump of data. Other tables are skipped.

    Text that a user typed into another table may look like a statement. Such text is within a COPY or within quotation
    marks, so both are followed to their end, as PostgreSQL defines it. Raises `UnreadableImport`.
    """
    found = False
    source = pieces(chunks)
    for piece in source:
        if match := _COPY.fullmatch(piece):
            found = True
            yield from _copied(source, _columns(match[1]))
        elif _ANY_COPY.fullmatch(piece):
            for _ in _until_end_of_copy(source):
                pass
        elif match := _INSERT.match(piece):
            found = True
            yield from _inserted(source, _columns(match[1]), piece[match.end() :])
        elif _INSERT_WITHOUT_COLUMNS.match(piece):
            raise UnreadableImport("The INSERTs do not name the columns of auth.users: dump with --column-inserts.")
        elif piece.startswith(b"--"):
            _pass_over(source, piece, b"")
        else:
            _pass_over(source, piece, b"'")
    if not found:
        raise UnreadableImport("The dump has no data of auth.users. Make it with `pg_dump --data-only -t auth.users`.")


def _columns(text: bytes) -> list[str]:
    columns = [name.strip().strip('"') for name in text.decode("utf-8", "replace").split(",")]
    if "email" not in columns:
        raise UnreadableImport("The data of auth.users has no column `email`.")
    return columns


def _pass_over(source: Iterator[bytes], piece: bytes, mark: bytes) -> None:
    """Skips the rest of a comment or of another statement: to the end of its line, and until each mark is closed."""
    opened = False
    while True:
        opened ^= bool(mark) and piece.count(mark) % 2 == 1
        if not opened and piece.endswith(b"\n"):
            return
        following = next(source, None)
        if following is None:
            if opened:
                raise UnreadableImport("The dump ends within a statement.")
            return
        piece = following


def _until_end_of_copy(source: Iterator[bytes]) -> Iterator[bytes | None]:
    """The lines of a COPY; None for one that is too long."""
    begins, size = True, 0
    for piece in source:
        if begins and piece.rstrip(b"\r\n") == b"\\.":
            return
        size += len(piece)
        ends = piece.endswith(b"\n")
        if ends:
            yield piece if begins and size <= MOST_BYTES + 1 else None
            size = 0
        begins = ends
    raise UnreadableImport("The dump ends within the data of a table.")


def _copied(source: Iterator[bytes], columns: list[str]) -> Iterator[Record | RowProblem]:
    for line in _until_end_of_copy(source):
        if line is None:
            yield TOO_LONG
            continue
        try:
            fields = line.decode("utf-8").rstrip("\r\n").split("\t")
        except UnicodeDecodeError:
            yield NOT_UTF8
            continue
        if len(fields) != len(columns):
            yield MISFIT
            continue
        yield {name: _unescaped(field) for name, field in zip(columns, fields, strict=True)}


def _unescaped(field: str) -> str | None:
    """A field of COPY's text format (PostgreSQL, "COPY", File Formats)."""
    if field == "\\N":
        return None
    return _ESCAPED.sub(lambda match: _CONTROL.get(match[1], match[1]), field) if "\\" in field else field


def _inserted(source: Iterator[bytes], columns: list[str], begun: bytes) -> Iterator[Record | RowProblem]:
    """The tuples of an INSERT, which may span lines, or share one. Raises `UnreadableImport`."""
    held = _Held(source, begun)
    while True:
        row = held.next_tuple()
        if row is None:
            yield TOO_LONG
        else:
            try:
                values = _values(row.decode("utf-8"))
            except UnicodeDecodeError:
                yield NOT_UTF8
            else:
                yield dict(zip(columns, values, strict=True)) if len(values) == len(columns) else MISFIT
        if not held.goes_on():
            return


class _Held:
    """The part of an INSERT that was read and not yet used: little more than a row."""

    def __init__(self, source: Iterator[bytes], begun: bytes) -> None:
        self._source = source
        self._text = bytearray(begun)
        self._at = 0
        self._opened = begun.count(b"'") % 2 == 1

    def next_tuple(self) -> bytes | None:
        """The tuple that begins here; None if it is too long. Raises `UnreadableImport`."""
        self._skip_space()
        while True:
            if bytes(self._text[self._at : self._at + 1]) not in (b"(", b""):
                raise UnreadableImport("A row of the dump is not a plain list of values.")
            too_long = len(self._text) - self._at > MOST_BYTES
            # Until its quotation marks are closed it cannot end, so each line is looked at once.
            if too_long or not self._opened:
                if match := _TUPLE.match(self._text, self._at):
                    self._at = match.end()
                    return match[0] if len(match[0]) <= MOST_BYTES else None
                if too_long:
                    self._pass_over()
                    return None
                if self._text[-1:] == b"\n":
                    raise UnreadableImport("A row of the dump is not a plain list of values.")
            self._more()

    def goes_on(self) -> bool:
        """Whether another tuple follows."""
        while (match := _DIVIDER.match(self._text, self._at)) is None:
            if self._text[self._at :].strip():
                return False
            self._more()
        self._at = match.end()
        return match[1] == b","

    def _skip_space(self) -> None:
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return
            self._more()

    def _pass_over(self) -> None:
        """Goes to the end of the tuple, and holds nothing of it."""
        in_quotes = False
        while True:
            while match := (_QUOTE if in_quotes else _QUOTE_OR_END).search(self._text, self._at):
                self._at = match.end()
                if match[0] == b"'":
                    in_quotes = not in_quotes
                elif match[0] == b")":
                    return
            self._at = len(self._text)
            self._more()

    def _more(self) -> None:
        piece = next(self._source, None)
        if piece is None:
            raise UnreadableImport("The dump ends within the rows of auth.users.")
        del self._text[: self._at]
        self._at = 0
        self._text += piece
        self._opened ^= piece.count(b"'") % 2 == 1


def _values(text: str) -> list[str | None]:
    """The values of a tuple. Raises `UnreadableImport`."""
    values: list[str | None] = []
    at = 1
    while match := _VALUE.match(text, at):
        quoted, bare, end = match.groups()
        values.append(quoted[1:-1].replace("''", "'") if bare is None else None if bare.upper() == "NULL" else bare)
        at = match.end()
        if end == ")":
            return values
    raise UnreadableImport("A row of the dump is not a plain list of values.")
