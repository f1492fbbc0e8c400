"""Appwrite: the users that its API lists for a server, with their hashes."""

from collections.abc import Mapping
from typing import Any

from app.admin.formats import json_rows
from app.admin.formats.rows import ImportedUser, Record, Refused, moment, text_or_none, truth, user

read = json_rows.member_or_rows("users", "Appwrite's list of users")

AS_STORED = frozenset({"argon2", "bcrypt", "phpass"})


def take(record: Record) -> ImportedUser:
    status = record.get("status")
    return user(
        email=record.get("email"),
        email_verified=record.get("emailVerification"),
        display_name=record.get("name"),
        password_hash=_hash(record),
        created_at=moment(record.get("registration") or record.get("$createdAt"), "registration"),
        disabled=not truth(True if status is None else status, "status"),
        second_factor=truth(record.get("mfa"), "mfa"),
    )


def _hash(record: Record) -> str | Refused | None:
    stored = text_or_none(record.get("password"), "password")
    options = record.get("hashOptions")
    if stored is None or record.get("hash") in AS_STORED:
        return stored
    spelt = _respelt(record.get("hash"), stored, options if isinstance(options, dict) else {})
    return spelt or Refused("unsupported_hash", "The `hash` is not argon2, bcrypt, phpass or Firebase's scrypt.")


def _respelt(kind: object, stored: str, options: Mapping[str, Any]) -> str | None:
    """A hash of Firebase's scrypt in Supabase's spelling. Appwrite takes the costs of Firebase's projects for given."""
    salt, separator, key = (options.get(name) for name in ("salt", "saltSeparator", "signerKey"))
    if kind != "scryptMod" or not all(isinstance(value, str) for value in (salt, separator, key)):
        return None
    return f"$fbscrypt$v=1,n=14,r=8,p=1,ss={separator},sk={key}${salt}${stored}"
