"""What some systems hash in a password's place. The hash does not tell, so it has a mark in front.

The mark is `$prehash=meteor` or, with a key, `$prehash=devise,1f0c2a9b`. That is the id of the key, which is stored
apart, encrypted. The hash as the system has it follows.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal

PrehashKind = Literal["meteor", "flask-security", "devise"]
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
KEYED: frozenset[PrehashKind] = frozenset({"flask-security", "devise"})
LONGEST_KEY = 1024
"""Bytes."""
ANY_KEY = "00000000"
"""An id as long as any, for what is not stored."""

_MARKED = re.compile(r"\$prehash=(?:(meteor)|(flask-security|devise),([0-9a-f]{8}))(\$.*)")


@dataclass(frozen=True)
class Prehash:
    kind: PrehashKind
    key_id: str = ""
    """Empty for a kind without a key."""

    @property
    def forms(self) -> tuple[Form | None, ...]:
        """The normal forms of a password that may have been hashed, the likeliest first; None is as typed.

        Flask-Security-Too takes NFKD, unless it was told otherwise.
        """
        return ("NFKD", None, "NFC") if self.kind == "flask-security" else (None, "NFC", "NFD", "NFKC")

    def made_of(self, password: str, key: bytes) -> str:
        """What the system hashes. `key` is text in UTF-8, or empty."""
        data = password.encode("utf-8", "surrogatepass")
        if self.kind == "meteor":  # meteor/meteor, accounts-password
            return hashlib.sha256(data).hexdigest()
        if self.kind == "flask-security":  # pallets-eco/flask-security, get_hmac
            return base64.b64encode(hmac.digest(key, data, "sha512")).decode()
        return password + key.decode()  # heartcombo/devise, encryptor.rb

    def __str__(self) -> str:
        return f"$prehash={self.kind},{self.key_id}" if self.key_id else f"$prehash={self.kind}"


def divided(stored: str) -> tuple[Prehash | None, str]:
    """What the mark of a hash says, if it has one, and the hash without it."""
    match = _MARKED.fullmatch(stored)
    if match is None:
        return None, stored
    if match[1]:
        return Prehash("meteor"), match[4]
    return Prehash("devise" if match[2] == "devise" else "flask-security", match[3]), match[4]
