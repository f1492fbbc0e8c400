"""Standard Webhooks 1.0 (standardwebhooks.com): headers by which a receiver knows who sends a request, and when."""

import base64
import hmac
import secrets
from collections.abc import Sequence

from app.crypto.encoding import b64url

SECRET_PREFIX = "whsec_"  # noqa: S105 - no secret
LEAST, MOST = 24, 64
"""Bytes of a key."""


def key_of(secret: str) -> bytes:
    """The key in a secret, which is `whsec_` and its base64. Raises ValueError."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("no secret of a webhook")
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    if not LEAST <= len(key) <= MOST:
        raise ValueError("a key of another length")
    return key


def new_id() -> str:
    """The id of a new message."""
    return "msg_" + b64url(secrets.token_bytes(18))


def signed(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message. `timestamp`: seconds since 1970. It has a signature by each key, so that a receiver may
    know either while a secret is changed.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
