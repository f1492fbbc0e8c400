"""Parse Server: the collection `_User`, as `mongoexport` writes it, or an export of the former parse.com."""

from app.admin.formats import json_rows
from app.admin.formats.rows import ImportedUser, Record, address_of, joined, moment, text_or_none, user

read = json_rows.member_or_rows("results", "an export of the class `_User`")

HASHES = ("_hashed_password", "bcryptPassword")


def take(record: Record) -> ImportedUser:
    stored = (text_or_none(record.get(member), member) for member in HASHES)
    name = next((record[member] for member in ("displayName", "fullName", "name") if record.get(member)), None)
    created_at = next((record[member] for member in ("_created_at", "createdAt") if member in record), None)
    return user(
        email=address_of(record.get("email"), record.get("username")),
        email_verified=record.get("emailVerified") if record.get("email") else None,
        display_name=joined(name) or joined(record.get("firstName"), record.get("lastName")),
        password_hash=next(filter(None, stored), None),
        created_at=moment(created_at, "_created_at"),
    )
