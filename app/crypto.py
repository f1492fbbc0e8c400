"""All cryptography: keys derived from SECRET_KEY, the encryption of secrets at rest, password hashes, signed tokens.

No other module imports a hashing or JOSE library.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jose import jwk, jws
from jose.exceptions import JOSEError
from passlib.context import CryptContext

ALGORITHM = "ES256"
MAX_TOKEN_LENGTH = 4096

PASSWORD_CONTEXT = CryptContext(
    schemes=["argon2"],
    argon2__type="ID",
    argon2__memory_cost=19456,  # KiB
    argon2__time_cost=2,
    argon2__parallelism=1,
)
"""OWASP's least costly argon2id set (ASVS 5.0 appendix C). Hashes with less are upgraded at sign-in."""


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64url(text: str) -> bytes:
    """The inverse of `b64url`. Raises ValueError for any spelling that `b64url` would not have given."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


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


@dataclass(frozen=True)
class KeyPair:
    """An ES256 key pair: PKCS #8 PEM, the public JWK (RFC 7517), and its thumbprint (RFC 7638) as `kid`."""

    kid: str
    private_pem: bytes
    public_jwk: dict[str, Any]


def generate_key_pair() -> KeyPair:
    private_key = ec.generate_private_key(ec.SECP256R1())
    numbers = private_key.public_key().public_numbers()
    members = {
        "crv": "P-256",
        "kty": "EC",
        "x": b64url(numbers.x.to_bytes(32, "big")),
        "y": b64url(numbers.y.to_bytes(32, "big")),
    }
    kid = b64url(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(kid, pem, {**members, "use": "sig", "alg": ALGORITHM, "kid": kid})


def signing_key(private_pem: bytes) -> Any:
    """A key object for `sign_token`; parsing it once is what makes signing fast."""
    return jwk.construct(private_pem.decode(), ALGORITHM)


def verification_key(public_jwk: Mapping[str, Any]) -> Any:
    """A key object for `verify_token`."""
    return jwk.construct({k: public_jwk[k] for k in ("kty", "crv", "x", "y")}, ALGORITHM)


def sign_token(claims: Mapping[str, Any], *, key: Any, kid: str, typ: str) -> str:
    """A compact JWS of `claims`."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return str(jws.sign(payload, key, headers={"typ": typ, "kid": kid}, algorithm=ALGORITHM))


class TokenRejected(Exception):
    """The token is not one of ours. The message says why, for the log alone."""


_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


def verify_token(token: str, *, keys: Mapping[str, Any], typ: str) -> dict[str, Any]:
    """The claims of a token that one of `keys` (by kid) signed. Raises `TokenRejected`, and nothing else.

    Stricter than python-jose (RFC 8725 §3): the length is capped before anything is parsed; the header has exactly
    the members this service writes, so `crit`, `jku`, `jwk`, `x5u` or another algorithm never reach the library; each
    part has its one canonical spelling; no member stands twice.
    """
    if len(token) > MAX_TOKEN_LENGTH or not _COMPACT.match(token):
        raise TokenRejected("not a compact JWS")
    try:
        header, claims, signature = (unb64url(part) for part in token.split("."))
        head = _strict_object(header)
        kid = head.get("kid")
        if head != {"alg": ALGORITHM, "typ": typ, "kid": kid} or not isinstance(kid, str) or kid not in keys:
            raise TokenRejected("not a header of this service")
        if len(signature) != 64:
            raise TokenRejected("not an ES256 signature")
        jws.verify(token, keys[kid], [ALGORITHM])
        return _strict_object(claims)
    except (JOSEError, ValueError, RecursionError) as error:
        raise TokenRejected(type(error).__name__) from error


def _strict_object(data: bytes) -> dict[str, Any]:
    value = json.loads(data.decode("utf-8"), object_pairs_hook=unique_members, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` that refuses a member that stands twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
