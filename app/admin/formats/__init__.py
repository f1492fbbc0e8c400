"""Reads the user files of other systems: from a stream of bytes to rows in one common form.

It holds only a row and a piece of the stream in memory, and does not use the database.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.admin.formats import (
    appwrite,
    auth0,
    clerk,
    cognito,
    django,
    firebase,
    json_rows,
    keycloak,
    kratos,
    ldif,
    native,
    opening,
    parse,
    records,
    supabase,
)
from app.admin.formats.opening import CSV, JSON, LDIF, NDJSON, SQL
from app.admin.formats.rows import ImportedUser, Refused, RowProblem
from app.admin.formats.rows import Record as Record
from app.platform.problems import FieldError, InvalidRequest

SourceName = Literal[
    "tokenvend",
    "cognito",
    "firebase",
    "supabase",
    "auth0",
    "clerk",
    "django",
    "keycloak",
    "parse",
    "appwrite",
    "kratos",
    "ldif",
]

Reader = Callable[[Iterable[bytes]], Iterator[Record | RowProblem]]


@dataclass(frozen=True)
class Source:
    title: str
    """For people."""
    readers: Mapping[str, Reader]
    """By media type. A reader raises `UnreadableImport` if it cannot continue."""
    take: Callable[[Mapping[str, Any]], ImportedUser]
    """Checks a record and makes a user of it. Raises `Refused`."""
    signs: tuple[set[str], ...] = ()
    """Names by which a file of this source is known, each set by itself: see `opening.names_in`."""


SOURCES: Mapping[SourceName, Source] = {
    "tokenvend": Source(
        "this service",
        {CSV: native.read_csv, NDJSON: json_rows.ndjson, JSON: json_rows.array_or_lines},
        native.take,
        ({"email", "email_verified", "display_name"}, {"email", "email_verified", "password_hash"}),
    ),
    "cognito": Source(
        "Amazon Cognito",
        {CSV: records.csv_of("email"), JSON: json_rows.member("Users", "what `aws cognito-idp list-users` prints")},
        cognito.take,
        ({"cognito:username"}, {"email", "user_status"}, {"Users", "UserStatus"}),
    ),
    "firebase": Source(
        "Firebase Auth",
        {JSON: firebase.read_json, CSV: firebase.read_csv},
        firebase.take,
        ({"users", "localId"}, {opening.FIREBASE_CSV}),
    ),
    "supabase": Source(
        "Supabase",
        {CSV: records.csv_of("email"), SQL: supabase.read_dump},
        supabase.take,
        # Devise has `encrypted_password` too.
        ({"encrypted_password", "raw_user_meta_data"}, {"encrypted_password", "instance_id"}, {opening.SUPABASE_DUMP}),
    ),
    "auth0": Source(
        "Auth0",
        {NDJSON: json_rows.ndjson, JSON: json_rows.array_or_lines, CSV: auth0.read_csv},
        auth0.take,
        (
            *({"user_id", "email"}, {"user_id", "identities"}, {"tenant", "connection"}),
            *({"email verified", "connection"}, {"custom_password_hash"}),
        ),
    ),
    "clerk": Source("Clerk", {CSV: records.csv_of("primary_email_address")}, clerk.take, ({"primary_email_address"},)),
    "django": Source("Django", {JSON: django.read, NDJSON: django.read}, django.take, ({"model", "fields"},)),
    "keycloak": Source(
        "Keycloak",
        {JSON: keycloak.read},
        keycloak.take,
        ({"realm", "notBefore"}, {"realm", "users"}, {"users", "createdTimestamp"}),
    ),
    "parse": Source(
        "Parse",
        {NDJSON: parse.read, JSON: parse.read},
        parse.take,
        ({"_hashed_password"}, {"_wperm"}, {"bcryptPassword"}),
    ),
    "appwrite": Source(
        "Appwrite", {JSON: appwrite.read, NDJSON: appwrite.read}, appwrite.take, ({"$id", "emailVerification"},)
    ),
    "kratos": Source(
        "Ory Kratos",
        {JSON: kratos.read, NDJSON: kratos.read},
        kratos.take,
        ({"traits", "schema_id"}, {"traits", "credentials"}),
    ),
    "ldif": Source("a directory (LDIF)", {LDIF: ldif.read}, ldif.take, ({opening.LDIF_ENTRY},)),
}


def records_of(
    name: SourceName, media_type: str | None, chunks: Iterable[bytes], most_bytes: int
) -> Iterator[Record | RowProblem]:
    """The records of a file, packed or not. Without a media type, its beginning tells.

    Raises `UnreadableImport`, `InvalidRequest` for a file of another source, and `ContentTooLarge` for a packed file
    that unpacks to more than `most_bytes`.
    """
    beginning, whole = records.peeked(opening.unpacked(chunks, most_bytes), opening.BEGINNING)
    check_source(name, beginning)
    readers = SOURCES[name].readers
    return readers[media_type or opening.sniffed(readers, beginning) or next(iter(readers))](whole)


def beginning_of(chunks: Iterable[bytes]) -> bytes:
    """The beginning of a file, packed or not, from which it is recognised. Raises `UnreadableImport`."""
    return records.peeked(opening.unpacked(chunks, 2 * opening.BEGINNING + 65_536), opening.BEGINNING)[0]


def other_source(name: SourceName, beginning: bytes) -> SourceName | None:
    """The source that a file is from, if it is plainly not from the named one."""
    found = opening.names_in(beginning)
    likely = [other for other, source in SOURCES.items() if any(sign <= found for sign in source.signs)]
    return likely[0] if likely and name not in likely else None


def check_source(name: SourceName, beginning: bytes) -> None:
    """Raises `InvalidRequest` for a file that is plainly of another source. The code of its error names that one."""
    other = other_source(name, beginning)
    if other is not None:
        said = f"This looks like an export of {SOURCES[other].title}: {use(other)}."
        raise InvalidRequest(errors=[FieldError("query.source", f"looks_like_{other}", said)])


def use(name: SourceName) -> str:
    """How to name a source, on the command line and over HTTP."""
    return f"use --source {name}, or source={name} over HTTP"


def user_of(source: Source, record: Record | RowProblem) -> ImportedUser | RowProblem:
    """The user of a row, or what is wrong with the row."""
    if isinstance(record, RowProblem):
        return record
    try:
        return source.take(record)
    except Refused as refused:
        return refused.problem
