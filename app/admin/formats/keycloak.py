"""Keycloak: the export of one realm. A credential there is JSON within texts of JSON; here it becomes a PHC string."""

from collections.abc import Mapping
from typing import Any

from app.admin.formats import json_rows
from app.admin.formats.rows import (
    ImportedUser,
    Record,
    Refused,
    address_of,
    joined,
    milliseconds,
    text_or_none,
    truth,
    user,
)
from app.crypto.strict_json import DECODER

read = json_rows.member("users", "the export of one realm")

VERSIONS = {"1.0": 16, "1.3": 19}
"""Of argon2, by Keycloak's name."""
ARGON2 = frozenset({"argon2", "argon2id", "argon2i"})
PBKDF2 = {"pbkdf2": "sha1", "pbkdf2-sha256": "sha256", "pbkdf2-sha512": "sha512"}
SECOND_FACTORS = frozenset({"otp", "totp", "hotp", "webauthn", "recovery-authn-codes"})


def take(record: Record) -> ImportedUser:
    credentials = record.get("credentials")
    found = [one for one in (credentials if isinstance(credentials, list) else []) if isinstance(one, dict)]
    password = next((one for one in found if one.get("type") == "password"), None)
    enabled = record.get("enabled")
    return user(
        email=address_of(record.get("email"), record.get("username")),
        email_verified=record.get("emailVerified") if record.get("email") else None,
        display_name=joined(record.get("firstName"), record.get("lastName")),
        password_hash=None if password is None else _hash(password),
        created_at=milliseconds(record.get("createdTimestamp"), "createdTimestamp"),
        disabled=not truth(True if enabled is None else enabled, "enabled"),
        second_factor=any(one.get("type") in SECOND_FACTORS for one in found),
    )


def _hash(credential: Mapping[str, Any]) -> str | Refused:
    try:
        return _spelt(credential)
    except Refused as refused:
        return refused


def _spelt(credential: Mapping[str, Any]) -> str:
    """The credential as a PHC string. Raises `Refused`."""
    how, secret = _within(credential, "credentialData"), _within(credential, "secretData")
    algorithm = how.get("algorithm")
    salt, key = text_or_none(secret.get("salt"), "salt"), text_or_none(secret.get("value"), "value")
    rounds = how.get("hashIterations")
    if salt is None or key is None or type(rounds) is not int:
        raise _unsupported()
    if algorithm in PBKDF2:
        return f"$pbkdf2-{PBKDF2[algorithm]}$i={rounds}${salt}${key}"
    if algorithm not in ARGON2:
        raise _unsupported()
    more = how.get("additionalParameters")
    names = ("type", "version", "memory", "parallelism")
    kind, version, memory, lanes = (_only(more, name) for name in names)
    if kind not in ("id", "i") or version not in VERSIONS:
        raise _unsupported()
    terms = f"m={memory},t={rounds},p={lanes}"
    return f"$argon2{kind}$v={VERSIONS[version]}${terms}${salt.rstrip('=')}${key.rstrip('=')}"


def _within(credential: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object that the member holds as text; older exports hold it as an object."""
    value = credential.get(name)
    if isinstance(value, str):
        try:
            value = DECODER.decode(value)
        except (ValueError, RecursionError):
            raise _unsupported() from None
    if not isinstance(value, dict):
        raise _unsupported()
    return value


def _only(parameters: object, name: str) -> str:
    """The one value of a parameter, of which Keycloak writes lists."""
    values = parameters.get(name) if isinstance(parameters, dict) else None
    if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str):
        raise _unsupported()
    return values[0]


def _unsupported() -> Refused:
    return Refused("unsupported_hash", "The credential is neither argon2 nor PBKDF2 as Keycloak exports them.")
