"""Supabase: its table `auth.users`, as CSV or in a dump of its data by pg_dump (COPY, or INSERT)."""

import json
import re
from collections.abc import Iterable, Iterator

from app.admin.formats.records import MALFORMED, MISFIT, MOST_BYTES, NOT_UTF8, TOO_LONG, lines
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, moment, text_or_none, user
from app.problems import UnreadableImport

_TABLE = r'(?:"?auth"?\.)"?users"?'
_COPY = re.compile(rf"COPY {_TABLE} \(([^)]+)\) FROM stdin;\s*")
_ANY_COPY = re.compile(r"COPY .* FROM stdin;\s*")
_INSERT = re.compile(rf"INSERT INTO {_TABLE} \(([^)]+)\) VALUES\s*")
_VALUE = re.compile(r"\s*(?:'((?:[^']|'')*)'|([A-Za-z0-9_.+-]+))\s*([,)])")
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
        # Whoever is banned for a time is let in again by an administrator here.
        disabled=text_or_none(record.get("banned_until"), "banned_until") is not None,
    )


def _name(value: object) -> str | None:
    """Where apps put it by custom; metadata that is no JSON object has none."""
    try:
        metadata = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict):
        return None
    names = (metadata.get(member) for member in ("display_name", "full_name", "name"))
    return next((name for name in names if isinstance(name, str) and name.strip()), None)


def read_dump(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """The rows of `auth.users` in a dump of data; all other tables are passed over.

    Passed over with care: text that some user typed into another table may look like a statement. Such text is within
    a COPY, or within quotation marks, both of which end where PostgreSQL says. Raises `UnreadableImport`.
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
            yield from _inserted(source, _columns(match[1]), statement[match.end() :])
        elif not statement.startswith("--"):
            _pass_over(source, line)
    if not found:
        raise UnreadableImport("The dump has no data of auth.users: make it by `pg_dump --data-only -t auth.users`.")


def _decoded(line: bytes | None) -> str:
    return "" if line is None else line.decode("utf-8", "replace")


def _columns(text: str) -> list[str]:
    columns = [name.strip().strip('"') for name in text.split(",")]
    if "email" not in columns:
        raise UnreadableImport("The data of auth.users has no column `email`.")
    return columns


def _pass_over(source: Iterator[bytes | None], line: bytes | None) -> None:
    """The rest of a statement of no interest: until each quotation mark is closed."""
    marks = 0
    while True:
        if line is None:
            raise UnreadableImport("A line of another table has over 65,536 bytes: dump auth.users alone.")
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
    """COPY's text format (PostgreSQL, "COPY", File Formats)."""
    if field == "\\N":
        return None
    return _ESCAPED.sub(lambda match: _CONTROL.get(match[1], match[1]), field) if "\\" in field else field


def _inserted(source: Iterator[bytes | None], columns: list[str], text: str) -> Iterator[Record | RowProblem]:
    """Tuples, each of which may go on after the end of a line within quotation marks."""
    while True:
        while not text.strip() or text.count("'") % 2:
            more = next(source, b"")
            if not more or len(text) + len(more) > MOST_BYTES:
                raise UnreadableImport("A row of the dump has over 65,536 bytes, or the dump ends within one.")
            try:
                text += more.decode("utf-8")
            except UnicodeDecodeError:
                raise UnreadableImport("The dump is not text in UTF-8.") from None
        values, rest = _tuple(text)
        if len(values) == len(columns):
            yield dict(zip(columns, values, strict=True))
        else:
            yield MISFIT if values else MALFORMED
        if not rest.startswith(","):
            return
        text = rest[1:]


def _tuple(text: str) -> tuple[list[str | None], str]:
    """The values of the tuple that `text` begins with, and what follows it."""
    text = text.lstrip()
    values: list[str | None] = []
    at = 1
    while text.startswith("(") and (match := _VALUE.match(text, at)):
        quoted, bare, end = match.groups()
        values.append(quoted.replace("''", "'") if bare is None else None if bare.upper() == "NULL" else bare)
        at = match.end()
        if end == ")":
            return values, text[at:].lstrip()
    raise UnreadableImport("A row of the dump is not a plain list of values.")
