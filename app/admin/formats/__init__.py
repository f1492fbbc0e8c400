"""Reads the user files of other systems: from a stream of bytes to rows in one common form.

It holds only a row and a piece of the stream in memory, and does not use the database.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.admin.formats import auth0, cognito, firebase, native, records, supabase
from app.admin.formats.rows import ImportedUser, Refused, RowProblem
from app.admin.formats.rows import Record as Record

SourceName = Literal["tokenvend", "cognito", "firebase", "supabase", "auth0"]
CSV, NDJSON, JSON, SQL = "text/csv", "application/x-ndjson", "application/json", "application/sql"
SUFFIXES = {".csv": CSV, ".ndjson": NDJSON, ".jsonl": NDJSON, ".json": JSON, ".sql": SQL}

Reader = Callable[[Iterable[bytes]], Iterator[Record | RowProblem]]


@dataclass(frozen=True)
class Source:
    readers: Mapping[str, Reader]
    """By media type. A reader raises `UnreadableImport` if it cannot continue."""
    take: Callable[[Mapping[str, Any]], ImportedUser]
    """Checks a record and makes a user of it. Raises `Refused`."""


SOURCES: Mapping[SourceName, Source] = {
    "tokenvend": Source({CSV: native.read_csv, NDJSON: records.ndjson}, native.take),
    "cognito": Source({CSV: records.csv_of("email")}, cognito.take),
    "firebase": Source({JSON: firebase.read}, firebase.take),
    "supabase": Source({CSV: records.csv_of("email"), SQL: supabase.read_dump}, supabase.take),
    "auth0": Source({NDJSON: records.ndjson}, auth0.take),
}


def user_of(source: Source, record: Record | RowProblem) -> ImportedUser | RowProblem:
    """The user of a row, or what is wrong with the row."""
    if isinstance(record, RowProblem):
        return record
    try:
        return source.take(record)
    except Refused as refused:
        return refused.problem
