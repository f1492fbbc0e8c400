"""Cryptography but for password hashes: keys derived from SECRET_KEY, secrets at rest, signed tokens, codes.

No module but this one and `password_hashes` imports a hashing or JOSE library.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from secrets import token_bytes
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jose import jwk, jws
from jose.exceptions import JOSEError
from passlib.exc import TokenError
from passlib.totp import TOTP

TOTP_PERIOD = 30
"""Seconds. With six digits and SHA-1 it is what every authenticator app knows (RFC 6238 §4)."""

ALGORITHM = "ES256"
MAX_TOKEN_LENGTH = 4096
MAX_ID_TOKEN_LENGTH = 8192
RSA_BITS = range(2048, 8193)


def random_base32(size: int) -> str:
    """As many random bytes, a multiple of 5, as base32 (RFC 4648 §6): letters and 2–7, without padding."""
    return base64.b32encode(token_bytes(size)).decode("ascii")


def client_secret_hash(client_secret: str, client_id: str, username: str) -> str:
    """What Cognito calls SECRET_HASH: base64 of HMAC-SHA256."""
    mac = hmac.new(client_secret.encode(), (username + client_id).encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode("ascii")


def signature_v4(secret: str, scope: Sequence[str], text: str) -> str:
    """AWS's signature of `text`, in hexadecimal; the scope is date, Region and service (Signature Version 4)."""
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def is_signed(
    certificate: bytes, signature: str, text: bytes, *, digest: Literal["SHA-1", "SHA-256"], at: datetime
) -> bool:
    """Whether the RSA key of the certificate (PEM), valid at that time, made the signature (base64, PKCS #1 v1.5).

    Who vouches for the certificate is the caller's to know. Raises ValueError for one that is none.
    """
    read = x509.load_pem_x509_certificate(certificate)
    key = read.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in RSA_BITS:
        raise ValueError("not an RSA key of a usual size")
    if not read.not_valid_before_utc <= at <= read.not_valid_after_utc:
        return False
    kind = hashes.SHA1() if digest == "SHA-1" else hashes.SHA256()  # noqa: S303 - what SNS calls version 1
    try:
        key.verify(base64.b64decode(signature, validate=True), text, padding.PKCS1v15(), kind)
    except InvalidSignature:
        return False
    return True


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64url(text: str) -> bytes:
    """The inverse of `b64url`. Raises ValueError for any spelling that `b64url` would not have given."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


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
        head = strict_object(header)
        kid = head.get("kid")
        if head != {"alg": ALGORITHM, "typ": typ, "kid": kid} or not isinstance(kid, str) or kid not in keys:
            raise TokenRejected("not a header of this service")
        if len(signature) != 64:
            raise TokenRejected("not an ES256 signature")
        jws.verify(token, keys[kid], [ALGORITHM])
        return strict_object(claims)
    except (JOSEError, ValueError, RecursionError) as error:
        raise TokenRejected(type(error).__name__) from error


class UnknownKey(TokenRejected):
    """No key that was given has the `kid` of the token's header."""


@dataclass(frozen=True)
class IdentityKey:
    """A provider's public key, and the one algorithm that it verifies."""

    algorithm: str
    key: Any


class _PssKey:
    """PS256 (RFC 7518 §3.5), which python-jose does not have."""

    _PADDING = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)

    def __init__(self, public_key: Any) -> None:
        self._public_key = public_key

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public_key.verify(signature, message, self._PADDING, hashes.SHA256())
        except InvalidSignature:
            return False
        return True


def identity_keys(document: bytes) -> dict[str, IdentityKey]:
    """By kid, the keys of a provider's JWK set (RFC 7517 §5) that verify ID tokens; others are left out.

    So is every key whose kid stands twice: none is better than a guess. Raises ValueError for what is no JWK set.
    """
    try:
        entries = strict_object(document)["keys"]
    except (KeyError, RecursionError) as error:
        raise ValueError("not a JWK set") from error
    if not isinstance(entries, list):
        raise ValueError("not a JWK set")
    found: dict[str, list[IdentityKey]] = {}
    for entry in entries:
        key = _identity_key(entry) if isinstance(entry, dict) else None
        if key is not None and isinstance(kid := entry.get("kid"), str) and kid:
            found.setdefault(kid, []).append(key)
    return {kid: keys[0] for kid, keys in found.items() if len(keys) == 1}


def _identity_key(entry: Mapping[str, Any]) -> IdentityKey | None:
    """RS256 or ES256 by the key's type; PS256 only where the key says so. Nothing else is ever verified."""
    operations = entry.get("key_ops", ["verify"])
    usable = entry.get("use") in (None, "sig") and isinstance(operations, list) and "verify" in operations
    kind = (entry.get("kty"), entry.get("crv"), entry.get("alg"))
    algorithm: str | None = None
    if kind in (("RSA", None, None), ("RSA", None, "RS256")):
        algorithm = "RS256"
    elif kind == ("RSA", None, "PS256"):
        algorithm = "PS256"
    elif kind in (("EC", "P-256", None), ("EC", "P-256", "ES256")):
        algorithm = "ES256"
    numbers = {name: entry.get(name) for name in (("x", "y") if algorithm == "ES256" else ("n", "e"))}
    if not usable or algorithm is None or not all(isinstance(number, str) for number in numbers.values()):
        return None
    try:
        if algorithm == "ES256":
            return IdentityKey(algorithm, jwk.construct({"kty": "EC", "crv": "P-256", **numbers}, algorithm))
        key: Any = jwk.construct({"kty": "RSA", **numbers}, "RS256")
    except (JOSEError, ValueError):
        return None
    if key.prepared_key.key_size not in RSA_BITS:
        return None
    return IdentityKey(algorithm, _PssKey(key.prepared_key) if algorithm == "PS256" else key)


_OF_ANOTHER_KEY = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})
"""OpenID Connect Core §2: an ID token does not bring its key. Extensions that we do not know are refused."""


def verify_identity_token(token: str, *, keys: Mapping[str, IdentityKey]) -> dict[str, Any]:
    """The claims of an ID token that one of `keys` signed, by the key that its `kid` names and that key's algorithm.

    As strict as `verify_token`, but a provider's header may have members of its own. What the claims say is for the
    caller to judge. Raises `UnknownKey`, `TokenRejected`, and nothing else.
    """
    if len(token) > MAX_ID_TOKEN_LENGTH or not _COMPACT.match(token):
        raise TokenRejected("not a compact JWS")
    signed, _, _ = token.rpartition(".")
    try:
        header, claims, signature = (unb64url(part) for part in token.split("."))
        head = strict_object(header)
        kid, typ = head.get("kid"), head.get("typ", "JWT")
        if not _OF_ANOTHER_KEY.isdisjoint(head) or not isinstance(typ, str) or typ.upper() != "JWT":
            raise TokenRejected("not the header of an ID token")
        if not isinstance(kid, str) or kid not in keys:
            raise UnknownKey("an unknown kid")
        if head.get("alg") != keys[kid].algorithm:
            raise TokenRejected("not the algorithm of its key")
        if not keys[kid].key.verify(signed.encode(), signature):
            raise TokenRejected("not signed by its key")
        return strict_object(claims)
    except (JOSEError, ValueError, RecursionError) as error:
        raise TokenRejected(type(error).__name__) from error


def strict_object(data: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 in which no member stands twice. Raises ValueError, RecursionError."""
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
