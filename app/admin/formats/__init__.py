"""Files of users as other systems write them: from a stream of bytes to rows that all look alike.

Nothing here holds more than a row and a piece of the stream in memory, and nothing knows the database.
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
    """By media type. A reader raises `UnreadableImport` where it cannot go on."""
    take: Callable[[Mapping[str, Any]], ImportedUser]
    """What a record says, checked. Raises `Refused`."""


SOURCES: Mapping[SourceName, Source] = {
    "tokenvend": Source({CSV: native.read_csv, NDJSON: records.ndjson}, native.take),
    "cognito": Source({CSV: records.csv_of("email")}, cognito.take),
    "firebase": Source({JSON: firebase.read}, firebase.take),
    "supabase": Source({CSV: records.csv_of("email"), SQL: supabase.read_dump}, supabase.take),
    "auth0": Source({NDJSON: records.ndjson}, auth0.take),
}


def user_of(source: Source, record: Record | RowProblem) -> ImportedUser | RowProblem:
    """The user that a row stands for, or what is wrong with it."""
    if isinstance(record, RowProblem):
        return record
    try:
        return source.take(record)
    except Refused as refused:
        return refused.problem
