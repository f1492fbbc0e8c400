"""Supabase: the table `auth.users`, as CSV or in a pg_dump of its data (COPY or INSERT)."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator

from app.admin.formats.records import MISFIT, NOT_UTF8, TOO_LONG, closed, lines
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, moment, text_or_none, user
from app.platform.problems import UnreadableImport

_TABLE = r'(?:"?auth"?\.)"?users"?'
_COPY = re.compile(rf"COPY {_TABLE} \(([^)]+)\) FROM stdin;\s*")
_ANY_COPY = re.compile(r"COPY .* FROM stdin;\s*")
_INSERT = re.compile(rf"INSERT INTO {_TABLE} \(([^)]+)\) VALUES\s*")
_VALUE = re.compile(r"\s*(?:((?:'[^']*')+)|([A-Za-z0-9_.+-]+))\s*([,)])")
_DIVIDER = re.compile(r"\s*(,?)\s*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROL = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def take(record: Record) -> ImportedUser:
    if text_or_none(record.get("deleted_at"), "deleted_at"):
        raise Refused("deleted", "The user was deleted there.")
    return user(
        email=record.get("email"),
        email_verified=text_or_none(record.get("email_confirmed_at"), "email_confirmed_at") is not None,
        display_name=_name(record.get("raw_user_meta_data")),
        password_hash=text_or_none(record.get("encrypted_password"), "encrypted_password"),
        created_at=moment(record.get("created_at"), "created_at"),
        # A temporary ban becomes a disabled account, which an administrator can enable.
        disabled=text_or_none(record.get("banned_until"), "banned_until") is not None,
    )


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
    source = lines(chunks)
    for line in source:
        statement = _decoded(line)
        if match := _COPY.fullmatch(statement):
            found = True
            yield from _copied(source, _columns(match[1]))
        elif _ANY_COPY.fullmatch(statement):
            for _ in _until_end_of_copy(source):
                pass
        elif match := _INSERT.match(statement):
            found = True
            rest = statement[match.end() :].encode("utf-8")
            yield from _inserted(itertools.chain([rest], source), _columns(match[1]))
        elif not statement.startswith("--"):
            _pass_over(source, line)
    if not found:
        raise UnreadableImport("The dump has no data of auth.users. Make it with `pg_dump --data-only -t auth.users`.")


def _decoded(line: bytes | None) -> str:
    return "" if line is None else line.decode("utf-8", "replace")


def _columns(text: str) -> list[str]:
    columns = [name.strip().strip('"') for name in text.split(",")]
    if "email" not in columns:
        raise UnreadableImport("The data of auth.users has no column `email`.")
    return columns


def _pass_over(source: Iterator[bytes | None], line: bytes | None) -> None:
    """Skips the rest of another statement, until each quotation mark is closed."""
    marks = 0
    while True:
        if line is None:
            raise UnreadableImport("A line of another table has over 65,536 bytes. Dump auth.users alone.")
        marks += line.count(b"'")
        if marks % 2 == 0:
            return
        line = next(source, b"'")


def _until_end_of_copy(source: Iterator[bytes | None]) -> Iterator[bytes | None]:
    for line in source:
        if line is not None and line.rstrip(b"\r\n") == b"\\.":
            return
        yield line
    raise UnreadableImport("The dump ends within the data of a table.")


def _copied(source: Iterator[bytes | None], columns: list[str]) -> Iterator[Record | RowProblem]:
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


def _inserted(found: Iterator[bytes | None], columns: list[str]) -> Iterator[Record | RowProblem]:
    """The tuples of an INSERT. Within quotation marks a tuple may span lines. Raises `UnreadableImport`."""
    for piece in closed(found, b"'"):
        if piece is None:
            raise UnreadableImport("A row of the dump has over 65,536 bytes, or the dump ends within one.")
        try:
            text = piece.decode("utf-8")
        except UnicodeDecodeError:
            raise UnreadableImport("The dump is not text in UTF-8.") from None
        at = len(text) - len(text.lstrip())
        while at < len(text):
            values, at = _tuple(text, at)
            yield dict(zip(columns, values, strict=True)) if len(values) == len(columns) else MISFIT
            divider = _DIVIDER.match(text, at)
            if divider is None or not divider[1]:
                return
            at = divider.end()
    raise UnreadableImport("The dump ends within the rows of auth.users.")


def _tuple(text: str, at: int) -> tuple[list[str | None], int]:
    """The values of the tuple that begins at `at`, and where it ends. Raises `UnreadableImport`."""
    values: list[str | None] = []
    begun, at = text[at] == "(", at + 1
    while begun and (match := _VALUE.match(text, at)):
        quoted, bare, end = match.groups()
        values.append(quoted[1:-1].replace("''", "'") if bare is None else None if bare.upper() == "NULL" else bare)
        at = match.end()
        if end == ")":
            return values, at
    raise UnreadableImport("A row of the dump is not a plain list of values.")
