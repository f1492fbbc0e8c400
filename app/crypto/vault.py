"""Keys derived from SECRET_KEY, and encryption of stored secrets."""

import hashlib
import hmac
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class DecryptionFailed(Exception):
    """The ciphertext was changed, or was made with another SECRET_KEY, purpose or `bound_to`."""


class SecretMissing(Exception):
    """There is no SECRET_KEY, so nothing can be encrypted, opened or looked up by it."""


class Vault:
    """Derives a key from SECRET_KEY for each purpose, so that a value made for one purpose is useless for another.

    With an empty SECRET_KEY every method raises `SecretMissing`.
    """

    def __init__(self, secret_key: str) -> None:
        self._root = secret_key.encode()
        self._keys: dict[str, bytes] = {}

    def digest(self, purpose: str, *parts: bytes) -> bytes:
        """HMAC-SHA256 (32 bytes) of `parts`. The length of each part precedes it, so that no two lists collide."""
        mac = hmac.new(self._key(purpose), digestmod=hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(4, "big") + part)
        return mac.digest()

    def encrypt(self, purpose: str, plaintext: bytes, *, bound_to: str) -> bytes:
        """Encrypts with AES-256-GCM. Returns nonce (12 bytes) and ciphertext.

        `decrypt` needs the same purpose and `bound_to`.
        """
        nonce = token_bytes(12)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plaintext, bound_to.encode())

    def decrypt(self, purpose: str, ciphertext: bytes, *, bound_to: str) -> bytes:
        """The plaintext. Raises `DecryptionFailed`."""
        try:
            return AESGCM(self._key(purpose)).decrypt(ciphertext[:12], ciphertext[12:], bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise DecryptionFailed from error

    def _key(self, purpose: str) -> bytes:
        if not self._root:
            raise SecretMissing
        if purpose not in self._keys:
            derivation = HKDF(hashes.SHA256(), length=32, salt=None, info=f"tokenvend:{purpose}".encode())
            self._keys[purpose] = derivation.derive(self._root)
        return self._keys[purpose]
