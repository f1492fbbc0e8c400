"""Keys derived from the secret key, and encryption of stored secrets.

While the secret key is being changed there are several. All are accepted, and one is written with: see
`records/secret_keys.py`.
"""

import functools
import hashlib
import hmac
from collections.abc import Sequence
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.crypto import kinds
from app.crypto.kinds import Keyed, Sealed

FINGERPRINT_SIZE = 16
"""Bytes."""


class DecryptionFailed(Exception):
    """The ciphertext was changed, or was made with a secret key that is not accepted, another kind or `bound_to`."""


class SecretMissing(Exception):
    """There is no SECRET_KEY, so nothing can be encrypted, opened or looked up by it."""


class Vault:
    """Derives a key from the secret key for each kind, so that a value of one kind is useless as another.

    It accepts the secret key and the previous ones, in this order always. Until `write_with` says otherwise it writes
    with the latest previous key if there is one: replicas that were not told of a new key know that one. With an empty
    secret key every method raises `SecretMissing`.
    """

    def __init__(self, secret_key: str, previous: Sequence[str] = ()) -> None:
        self._roots = [key.encode() for key in (secret_key, *previous)]
        self._keys: dict[tuple[int, str], bytes] = {}
        self._writing = min(1, len(previous))

    @functools.cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """Of each key, the secret key first. A fingerprint tells nothing else of its key."""
        return tuple(
            hmac.digest(self._key(at, kinds.FINGERPRINT.purpose), b"", "sha256")[:FINGERPRINT_SIZE].hex()
            for at in range(len(self._roots))
        )

    @property
    def writes_with(self) -> str:
        return self.fingerprints[self._writing]

    def write_with(self, fingerprint: str) -> None:
        """From now on writes with this one of its keys."""
        self._writing = self.fingerprints.index(fingerprint)

    def digest(self, kind: Keyed, *parts: bytes) -> bytes:
        """HMAC-SHA256 (32 bytes) of `parts`, by the key that is written with.

        The length of each part precedes it, so that no two lists collide.
        """
        return digest_by(self._key(self._writing, kind.purpose), *parts)

    def digests(self, kind: Keyed, *parts: bytes) -> tuple[bytes, ...]:
        """The digests by all keys, for a look-up."""
        return tuple(digest_by(self._key(at, kind.purpose), *parts) for at in range(len(self._roots)))

    def matches(self, kind: Keyed, digest: bytes, *parts: bytes) -> bool:
        """Whether it is the digest of `parts` by one of the keys. Takes as long whichever it is."""
        return sum(hmac.compare_digest(digest, one) for one in self.digests(kind, *parts)) > 0

    def encrypt(self, kind: Sealed, plaintext: bytes, *, bound_to: str) -> bytes:
        """Encrypts with AES-256-GCM. Returns nonce (12 bytes) and ciphertext.

        `decrypt` needs the same kind and `bound_to`.
        """
        nonce = token_bytes(12)
        return nonce + AESGCM(self._key(self._writing, kind.purpose)).encrypt(nonce, plaintext, bound_to.encode())

    def decrypt(self, kind: Sealed, ciphertext: bytes, *, bound_to: str) -> bytes:
        """The plaintext. Raises `DecryptionFailed`."""
        return self._open(kind, ciphertext, bound_to)[0]

    def opener(self, kind: Sealed, ciphertext: bytes, *, bound_to: str) -> str:
        """The fingerprint of the key that it was encrypted with. Raises `DecryptionFailed`."""
        return self.fingerprints[self._open(kind, ciphertext, bound_to)[1]]

    def renewed(self, kind: Sealed, ciphertext: bytes, *, bound_to: str) -> bytes | None:
        """The same, encrypted with the key that is written with. None if it is already. Raises `DecryptionFailed`."""
        plaintext, at = self._open(kind, ciphertext, bound_to)
        return None if at == self._writing else self.encrypt(kind, plaintext, bound_to=bound_to)

    def own_key(self, kind: Keyed, fingerprint: str) -> bytes:
        """The key of one kind that is derived from one of the secret keys, to be kept: see `digest_by`."""
        return self._key(self.fingerprints.index(fingerprint), kind.purpose)

    def _open(self, kind: Sealed, ciphertext: bytes, bound_to: str) -> tuple[bytes, int]:
        for at in range(len(self._roots)):
            try:
                key = AESGCM(self._key(at, kind.purpose))
                return key.decrypt(ciphertext[:12], ciphertext[12:], bound_to.encode()), at
            except (InvalidTag, ValueError):
                continue
        raise DecryptionFailed

    def _key(self, at: int, purpose: str) -> bytes:
        if not self._roots[0]:
            raise SecretMissing
        if (at, purpose) not in self._keys:
            derivation = HKDF(hashes.SHA256(), length=32, salt=None, info=f"tokenvend:{purpose}".encode())
            self._keys[at, purpose] = derivation.derive(self._roots[at])
        return self._keys[at, purpose]


def digest_by(key: bytes, *parts: bytes) -> bytes:
    """The digest that a vault makes with the key of a kind."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big") + part)
    return mac.digest()
