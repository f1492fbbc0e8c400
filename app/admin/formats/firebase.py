"""Firebase Auth: the JSON of `firebase auth:export`."""

import re
from collections.abc import Iterable, Iterator

from app.admin.formats import records
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, milliseconds, text_or_none, user
from app.crypto.password_hashes import firebase_hash

START = re.compile(r'\s*\{\s*"users"\s*:\s*\[')


def read(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    return records.array(chunks, start=START, what="`firebase auth:export` with --format=JSON")


def take(record: Record) -> ImportedUser:
    checksum = text_or_none(record.get("passwordHash"), "passwordHash")
    password_hash = None
    if checksum is not None:
        password_hash = firebase_hash(text_or_none(record.get("salt"), "salt") or "", checksum)
        if password_hash is None:
            raise Refused("unsupported_hash", "The password hash is not one of Firebase's own scrypt.")
    return user(
        email=record.get("email"),
        email_verified=record.get("emailVerified"),
        display_name=record.get("displayName"),
        password_hash=password_hash,
        created_at=milliseconds(record.get("createdAt"), "createdAt"),
        disabled=record.get("disabled"),
    )
