"""The base32 and base64url that this service writes."""

import base64
from secrets import token_bytes


def random_base32(size: int) -> str:
    """`size` random bytes as base32 (RFC 4648 §6): letters and 2–7. A multiple of 5 bytes needs no padding."""
    return base64.b32encode(token_bytes(size)).decode("ascii")


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64url(text: str) -> bytes:
    """The inverse of `b64url`. Raises ValueError for text that `b64url` does not return."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data
