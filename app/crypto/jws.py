"""Tokens that this service signs (JWS with ES256), and their keys."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk, jws
from jose.exceptions import JOSEError

from app.crypto.encoding import b64url, unb64url
from app.crypto.strict_json import strict_object

ALGORITHM = "ES256"


MAX_TOKEN_LENGTH = 4096


@dataclass(frozen=True)
class KeyPair:
    """A key pair: PKCS #8 PEM, the public JWK (RFC 7517), and its thumbprint (RFC 7638) as `kid`."""

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
    kid = thumbprint(members)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(kid, pem, {**members, "use": "sig", "alg": ALGORITHM, "kid": kid})


def thumbprint(members: Mapping[str, str]) -> str:
    """RFC 7638, of the members that a JWK of its kind must have."""
    return b64url(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


def signing_key(private_pem: bytes) -> Any:
    """A key object for `sign_token`. Signing is fast because the key is parsed only once."""
    return jwk.construct(private_pem.decode(), ALGORITHM)


def foreign_signing_key(private_pem: bytes) -> Any:
    """The same for a key that another system made, tried once. Raises ValueError if it is no ES256 key."""
    try:
        key = signing_key(private_pem)
        jws.sign(b"", key, algorithm=ALGORITHM)
    except (JOSEError, TypeError, AttributeError) as error:
        raise ValueError("not an ES256 key") from error
    return key


def verification_key(public_jwk: Mapping[str, Any]) -> Any:
    """A key object for `verify_token`."""
    return jwk.construct({k: public_jwk[k] for k in ("kty", "crv", "x", "y")}, ALGORITHM)


def sign_token(claims: Mapping[str, Any], *, key: Any, kid: str, typ: str) -> str:
    """A compact JWS of `claims`."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return str(jws.sign(payload, key, headers={"typ": typ, "kid": kid}, algorithm=ALGORITHM))


class TokenRejected(Exception):
    """The token is not one of ours. The message says why, and is only for the log."""


COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


def verify_token(token: str, *, keys: Mapping[str, Any], typ: str) -> dict[str, Any]:
    """The claims of a token that one of `keys` (by `kid`) signed. Raises `TokenRejected`, and nothing else.

    Stricter than python-jose (RFC 8725 §3). The length is capped before anything is parsed. The header has exactly the
    members that this service writes, so `crit`, `jku`, `jwk`, `x5u` or another algorithm never reach the library. Each
    part has its canonical encoding. No object has a duplicate member.
    """
    if len(token) > MAX_TOKEN_LENGTH or not COMPACT.match(token):
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


OF_ANOTHER_KEY = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})
"""An ID token must not bring its own key (OpenID Connect Core §2). Extensions (`crit`, `b64`) are refused."""
