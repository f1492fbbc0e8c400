"""Firebase Auth: the JSON or the CSV of `firebase auth:export`."""

import csv
from collections.abc import Iterable, Iterator

from app.admin.formats import json_rows
from app.admin.formats.records import NOT_UTF8, TOO_LONG, lines
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, milliseconds, text_or_none, user
from app.crypto.password_hashes import firebase_hash

read_json = json_rows.member("users", "the JSON of `firebase auth:export`")

FIRST_COLUMNS = ("localId", "email", "emailVerified", "passwordHash", "salt", "displayName")
COLUMNS = dict(enumerate(FIRST_COLUMNS)) | {23: "createdAt", 24: "lastSignedInAt", 26: "disabled"}
"""Of the CSV, which has no header (firebase-tools, src/accountExporter.ts). The others are of no use here."""
FEWEST = 29
"""Fields, as older versions write them. Newer ones add four for each further provider, 53 in 15.34."""
MOST_LINES = 8
"""Of one row, for a name with line ends."""
MISFIT = RowProblem(
    "misfit_row", "The line is no row of `firebase auth:export`. Older versions do not escape what users type."
)


def read_csv(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """A user a line, or on several. Older versions of the tool put no quotation marks around a name with one in it.

    So a line that is a row by itself begins anew, whatever is open before it.
    """
    waiting: list[bytes] = []
    for line in lines(chunks):
        if line is None:
            yield from [*[MISFIT] * len(waiting), TOO_LONG]
            waiting = []
        elif waiting or line.strip():
            waiting.append(line)
            begun, row = _last(waiting)
            if row is not None:
                yield from [*[MISFIT] * begun, row]
                waiting = []
            elif len(waiting) == MOST_LINES:
                yield MISFIT
                waiting = waiting[1:]
    yield from [MISFIT] * len(waiting)


def _last(waiting: list[bytes]) -> tuple[int, Record | RowProblem | None]:
    """The row that ends with the last line, and the line with which it begins."""
    for begun in reversed(range(len(waiting))):
        if (row := _row(b"".join(waiting[begun:]))) is not None:
            return begun, row
    return 0, None


def _row(text: bytes) -> Record | RowProblem | None:
    """The row; None if the text is no whole one."""
    try:
        rows = list(csv.reader([text.decode("utf-8")], strict=True))
    except UnicodeDecodeError:
        return NOT_UTF8 if text.count(b",") >= FEWEST - 1 else None
    except csv.Error:
        return None
    fields = rows[0] if len(rows) == 1 else []
    if len(fields) < FEWEST or (len(fields) - FEWEST) % 4 or fields[-1]:
        return None
    record = {name: fields[at] for at, name in COLUMNS.items()}
    switches = record["emailVerified"], record["disabled"] or "false"
    moments = record["createdAt"], record["lastSignedInAt"]
    fits = {*switches} <= {"true", "false"} and all(text.isdecimal() or not text for text in moments)
    return record if fits else None


def take(record: Record) -> ImportedUser:
    checksum = text_or_none(record.get("passwordHash"), "passwordHash")
    password_hash: str | Refused | None = None
    if checksum is not None:
        password_hash = firebase_hash(text_or_none(record.get("salt"), "salt") or "", checksum) or Refused(
            "unsupported_hash", "The password hash is not one of Firebase's own scrypt."
        )
    return user(
        email=record.get("email"),
        email_verified=record.get("emailVerified"),
        display_name=record.get("displayName"),
        password_hash=password_hash,
        created_at=milliseconds(record.get("createdAt"), "createdAt"),
        disabled=record.get("disabled"),
        second_factor=bool(record.get("mfaInfo")),
    )
