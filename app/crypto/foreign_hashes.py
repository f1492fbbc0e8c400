"""Hashes of other systems that passlib does not verify: PBKDF2 with a key of any length, and Drupal 7's."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

BLOCK = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
"""Bytes of a block of PBKDF2, by digest. A longer key costs more and proves no more."""
LEAST_KEY = 16
"""Bytes of a key. A shorter one might be that of another password too."""

_PBKDF2 = re.compile(
    r"\$pbkdf2-(sha1|sha256|sha384|sha512)\$i=([1-9]\d{0,8}),l=(\d{2})\$([A-Za-z0-9+/]{1,200})\$([A-Za-z0-9+/]{1,86})"
)
_DRUPAL = re.compile(r"\$S\$([5-9A-S])([./0-9A-Za-z]{8})([./0-9A-Za-z]{43})")
_LOGARITHMS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Pbkdf2:
    """As a PHC string: `$pbkdf2-sha512$i=210000,l=32$salt$key`, in Base64 without padding."""

    digest: str
    rounds: int
    salt: bytes
    key: bytes
    """`LEAST_KEY` bytes to one block."""

    @property
    def scheme(self) -> str:
        return f"pbkdf2_{self.digest}"

    def verify(self, password: bytes) -> bool:
        made = hashlib.pbkdf2_hmac(self.digest, password, self.salt, self.rounds, len(self.key))
        return hmac.compare_digest(made, self.key)

    def __str__(self) -> str:
        salt, key = (base64.b64encode(part).decode().rstrip("=") for part in (self.salt, self.key))
        return f"$pbkdf2-{self.digest}$i={self.rounds},l={len(self.key)}${salt}${key}"


@dataclass(frozen=True)
class Drupal:
    """`$S$`, the logarithm of the rounds, 8 characters of salt and 43 of a hash: phpass with SHA-512, cut.

    Source: Drupal 7, includes/password.inc.
    """

    rounds: int
    salt: bytes
    checksum: bytes

    scheme = "drupal"

    def verify(self, password: bytes) -> bool:
        from passlib.utils.binary import h64  # noqa: PLC0415 - a process may never see a password

        made = hashlib.sha512(self.salt + password).digest()
        for _ in range(self.rounds):
            made = hashlib.sha512(made + password).digest()
        encode = cast(Callable[[bytes], bytes], h64.encode_bytes)
        return hmac.compare_digest(encode(made)[: len(self.checksum)], self.checksum)


def read(text: str) -> Pbkdf2 | Drupal | None:
    """The hash, if it is one of these and spelt as they are stored."""
    if match := _DRUPAL.fullmatch(text):
        return Drupal(1 << _LOGARITHMS.index(match[1]), match[2].encode(), match[3].encode())
    if match := _PBKDF2.fullmatch(text):
        try:
            salt, key = (base64.b64decode(part + "=" * (-len(part) % 4)) for part in match.group(4, 5))
        except binascii.Error:
            return None
        found = Pbkdf2(match[1], int(match[2]), salt, key)
        if LEAST_KEY <= len(key) <= BLOCK[found.digest] and str(found) == text:
            return found
    return None
