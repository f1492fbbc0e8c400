"""Auth0: JSON or CSV of a user export, with the `passwordHash` that Auth0's support adds, or its own import schema."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.admin.formats import records
from app.admin.formats.rows import ImportedUser, Record, Refused, RowProblem, joined, moment, text_or_none, user

SALTED = {"md5": ("{SMD5}", 16), "sha1": ("{SSHA}", 20), "sha256": ("{SSHA256}", 32), "sha512": ("{SSHA512}", 64)}
"""What LDAP calls a digest of the password with the salt behind it, and how many bytes it has."""
_ORDINARY = str.maketrans("-_", "+/")
_rows = records.csv_of("email")


def read_csv(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """CSV of an export job, or of the extension, which writes `Email Verified` for `email_verified`."""
    for row in _rows(chunks):
        yield row if isinstance(row, RowProblem) else {name.replace(" ", "_"): cell for name, cell in row.items()}


def take(record: Record) -> ImportedUser:
    email, verified = _email(record)
    name = joined(record.get("name"))
    if name is None or name == email:  # without a name, Auth0 has the address there
        name = joined(record.get("given_name"), record.get("family_name"))
    return user(
        email=email,
        email_verified=verified,
        display_name=name,
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
        "unsupported_hash", "`custom_password_hash` is not argon2, bcrypt, LDAP's, PBKDF2, scrypt or a salted digest."
    )


def _custom(document: Mapping[str, Any]) -> str | None:
    stored, password = document.get("hash"), document.get("password")
    value = stored.get("value") if isinstance(stored, dict) else None
    encoding = password.get("encoding") if isinstance(password, dict) else None
    if not isinstance(stored, dict) or not isinstance(value, str) or encoding not in (None, "utf8", "ascii"):
        return None
    algorithm, salt = document.get("algorithm"), document.get("salt")
    if algorithm in ("argon2", "bcrypt", "ldap", "pbkdf2"):  # as PHC or crypt strings, or as LDAP writes them
        return value
    if algorithm not in ("scrypt", *SALTED) or not isinstance(salt, dict):
        return None
    try:
        raw_salt = _bytes(str(salt.get("value")), str(salt.get("encoding", "utf8")))
        made = _bytes(value, str(stored.get("encoding")))
    except (ValueError, binascii.Error):
        return None
    if algorithm == "scrypt":
        return _scrypt(document, raw_salt, made)
    return _salted(str(algorithm), salt.get("position"), raw_salt, made)


def _scrypt(document: Mapping[str, Any], salt: bytes, key: bytes) -> str | None:
    """As a PHC string. `respelling.py` takes what it needs of a longer key."""
    cost, block_size = document.get("cost", 16_384), document.get("blockSize", 8)
    lanes, length = document.get("parallelization", 1), document.get("keylen", len(key))
    numbers = (cost, block_size, lanes, length)
    if not all(type(number) is int and 0 < number < 2**31 for number in numbers):
        return None
    if cost & (cost - 1) or length != len(key):
        return None
    parts = [base64.b64encode(part).rstrip(b"=").decode() for part in (salt, key)]
    return f"$scrypt$ln={cost.bit_length() - 1},r={block_size},p={lanes}${parts[0]}${parts[1]}"


def _salted(algorithm: str, position: object, salt: bytes, digest: bytes) -> str | None:
    name, size = SALTED[algorithm]
    if len(digest) != size:
        return None
    if position == "suffix":
        return name + base64.b64encode(digest + salt).decode()
    if position == "prefix" and algorithm == "sha1" and salt.isalnum():  # as Django had it
        return f"sha1${salt.decode()}${digest.hex()}"
    return None


def _bytes(text: str, encoding: str) -> bytes:
    if encoding == "hex":
        return bytes.fromhex(text)
    if encoding == "base64":  # in either alphabet, perhaps without padding
        text = text.translate(_ORDINARY).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if encoding == "utf8":
        return text.encode()
    raise ValueError("an unknown encoding")
