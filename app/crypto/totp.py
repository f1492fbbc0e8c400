"""Time-based one-time codes (RFC 6238)."""

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passlib.totp import TOTP

TOTP_PERIOD = 30
"""Seconds. Every authenticator app supports this period with six digits and SHA-1 (RFC 6238 §4)."""


def totp_uri(secret: str, *, issuer: str, account: str) -> str:
    """The text of a QR code for authenticator apps (Key URI Format). Colons become spaces: one would end the issuer."""
    return str(_totp(secret).to_uri(label=account.replace(":", " "), issuer=issuer.replace(":", " ")))


def match_totp(secret: str, code: str, at: datetime) -> int | None:
    """The time step (RFC 6238 §4.2: periods since 1970) whose code is `code`; None if there is none.

    One step before and one after that of `at` are accepted too, because clocks differ and people type slowly.
    """
    from passlib.exc import TokenError  # noqa: PLC0415

    try:
        matched = _totp(secret).match(code, at.timestamp(), window=TOTP_PERIOD)
    except TokenError:
        return None
    return int(matched.counter)


def _totp(secret: str) -> "TOTP":
    from passlib.totp import TOTP  # noqa: PLC0415 - a process may never see a code

    return TOTP(key=secret, format="base32", period=TOTP_PERIOD)
