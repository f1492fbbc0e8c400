"""Ory Kratos: identities as its admin API lists them, or as it imports them."""

from typing import Any

from app.admin.formats import json_rows
from app.admin.formats.rows import ImportedUser, Record, Refused, joined, moment, text_or_none, user

read = json_rows.array_or_lines

SECOND_FACTORS = ("totp", "webauthn", "lookup_secret")


def take(record: Record) -> ImportedUser:
    traits = _object(record.get("traits"))
    email = _email(record, traits)
    credentials = _object(record.get("credentials"))
    config = _object(_object(credentials.get("password")).get("config"))
    name = traits.get("name")
    return user(
        email=email,
        email_verified=any(entry.get("verified") is True for entry in _addresses(record) if entry["value"] == email),
        display_name=joined(name)
        if isinstance(name, str)
        else joined(*(_object(name).get(part) for part in ("first", "last"))),
        password_hash=text_or_none(config.get("hashed_password"), "hashed_password"),
        created_at=moment(record.get("created_at"), "created_at"),
        disabled=_state(record.get("state")) == "inactive",
        second_factor=any(kind in credentials for kind in SECOND_FACTORS),
    )


def _email(record: Record, traits: dict[str, Any]) -> object:
    """The trait, or the address that can be verified, whatever the schema calls its trait."""
    if traits.get("email") is not None:
        return traits["email"]
    return next((entry["value"] for entry in _addresses(record)), None)


def _addresses(record: Record) -> list[dict[str, Any]]:
    found = record.get("verifiable_addresses")
    entries = [entry for entry in (found if isinstance(found, list) else []) if isinstance(entry, dict)]
    return [entry for entry in entries if entry.get("via") == "email" and isinstance(entry.get("value"), str)]


def _state(value: object) -> str:
    state = text_or_none(value, "state") or "active"
    if state not in ("active", "inactive"):
        raise Refused("invalid_value", "`state` is neither active nor inactive.")
    return state


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
