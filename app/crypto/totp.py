"""Time-based one-time codes (RFC 6238)."""

from datetime import datetime

from passlib.exc import TokenError
from passlib.totp import TOTP

TOTP_PERIOD = 30
"""Seconds. With six digits and SHA-1 it is what every authenticator app knows (RFC 6238 §4)."""


def totp_uri(secret: str, *, issuer: str, account: str) -> str:
    """What a QR code for authenticator apps holds (Key URI Format). A colon would end the issuer, so none is kept."""
    totp = TOTP(key=secret, format="base32", period=TOTP_PERIOD)
    return str(totp.to_uri(label=account.replace(":", " "), issuer=issuer.replace(":", " ")))


def match_totp(secret: str, code: str, at: datetime) -> int | None:
    """The time step (RFC 6238 §4.2: periods since 1970) that the six digits belong to; None for all other text.

    The steps before and after that of `at` are taken too, for clocks that differ and people who type.
    """
    try:
        matched = TOTP(key=secret, format="base32", period=TOTP_PERIOD).match(code, at.timestamp(), window=TOTP_PERIOD)
    except TokenError:
        return None
    return int(matched.counter)
