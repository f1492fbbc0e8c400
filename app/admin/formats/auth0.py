"""Auth0: JSON of a user export, with the `passwordHash` that Auth0's support adds, or in Auth0's import schema."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from app.admin.formats.rows import ImportedUser, Record, Refused, moment, text_or_none, user


def take(record: Record) -> ImportedUser:
    email, verified = _email(record)
    name = record.get("name")
    return user(
        email=email,
        email_verified=verified,
        display_name=None if name == email else name,  # without a name, Auth0 has the address there
        password_hash=_hash(record),
        created_at=moment(record.get("created_at"), "created_at"),
        disabled=record.get("blocked"),
    )


def _email(record: Record) -> tuple[object, object]:
    """The address and whether it is verified. Some rows have it only among `identifiers`."""
    if record.get("email") is not None:
        return record["email"], record.get("email_verified")
    identifiers = record.get("identifiers")
    for entry in identifiers if isinstance(identifiers, list) else []:
        if isinstance(entry, dict) and entry.get("type") == "email":
            return entry.get("value"), entry.get("verified")
    return None, None


def _hash(record: Record) -> str | Refused | None:
    for member in ("passwordHash", "password_hash"):
        if (text := text_or_none(record.get(member), member)) is not None:
            return text
    custom = record.get("custom_password_hash")
    if custom is None:
        return None
    made = _custom(custom) if isinstance(custom, dict) else None
    return made or Refused(
        "unsupported_hash", "`custom_password_hash` is not argon2, bcrypt, PBKDF2 or scrypt of 32 bytes."
    )


def _custom(document: Mapping[str, Any]) -> str | None:
    stored = document.get("hash")
    value = stored.get("value") if isinstance(stored, dict) else None
    if not isinstance(value, str) or not isinstance(stored, dict):
        return None
    password = document.get("password")
    if isinstance(password, dict) and password.get("encoding", "utf8") != "utf8":
        return None
    algorithm = document.get("algorithm")
    if algorithm in ("argon2", "bcrypt", "pbkdf2"):  # as PHC or crypt strings
        return value
    return _scrypt(document, value, str(stored.get("encoding"))) if algorithm == "scrypt" else None


def _scrypt(document: Mapping[str, Any], value: str, encoding: str) -> str | None:
    salt = document.get("salt")
    cost, block_size = document.get("cost", 16_384), document.get("blockSize", 8)
    lanes, length = document.get("parallelization", 1), document.get("keylen", 32)
    numbers = (cost, block_size, lanes, length)
    if not isinstance(salt, dict) or not all(type(number) is int and 0 < number < 2**31 for number in numbers):
        return None
    if cost & (cost - 1) or length != 32 or salt.get("position", "suffix") not in ("prefix", "suffix"):
        return None
    try:
        raw_salt = _bytes(str(salt.get("value")), str(salt.get("encoding", "utf8")))
        checksum = _bytes(value, encoding)
    except (ValueError, binascii.Error):
        return None
    parts = [base64.b64encode(part).rstrip(b"=").decode() for part in (raw_salt, checksum)]
    return f"$scrypt$ln={cost.bit_length() - 1},r={block_size},p={lanes}${parts[0]}${parts[1]}"


def _bytes(text: str, encoding: str) -> bytes:
    if encoding == "hex":
        return bytes.fromhex(text)
    if encoding == "base64":
        return base64.b64decode(text, validate=True)
    if encoding == "utf8":
        return text.encode()
    raise ValueError("an unknown encoding")
