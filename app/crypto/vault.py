"""Keys derived from SECRET_KEY, and secrets at rest."""

import hashlib
import hmac
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class DecryptionFailed(Exception):
    """The ciphertext was made with another SECRET_KEY or for another purpose, or it was changed."""


class Vault:
    """Keys derived from SECRET_KEY, one for each purpose, so that no value serves two."""

    def __init__(self, secret_key: str) -> None:
        self._root = secret_key.encode()
        self._keys: dict[str, bytes] = {}

    def digest(self, purpose: str, *parts: bytes) -> bytes:
        """HMAC-SHA256 (32 bytes) of `parts`, each preceded by its length so that no two lists collide."""
        mac = hmac.new(self._key(purpose), digestmod=hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(4, "big") + part)
        return mac.digest()

    def encrypt(self, purpose: str, plaintext: bytes, *, bound_to: str) -> bytes:
        """AES-256-GCM: nonce (12 bytes) and ciphertext. It opens only for the same purpose and `bound_to`."""
        nonce = token_bytes(12)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plaintext, bound_to.encode())

    def decrypt(self, purpose: str, ciphertext: bytes, *, bound_to: str) -> bytes:
        """The plaintext. Raises `DecryptionFailed`."""
        try:
            return AESGCM(self._key(purpose)).decrypt(ciphertext[:12], ciphertext[12:], bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise DecryptionFailed from error

    def _key(self, purpose: str) -> bytes:
        if purpose not in self._keys:
            derivation = HKDF(hashes.SHA256(), length=32, salt=None, info=f"tokenvend:{purpose}".encode())
            self._keys[purpose] = derivation.derive(self._root)
        return self._keys[purpose]
