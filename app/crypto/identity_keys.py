"""Keys and ID tokens of outside identity providers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from jose import jwk
from jose.exceptions import JOSEError

from app.crypto.encoding import unb64url
from app.crypto.jws import COMPACT, OF_ANOTHER_KEY, TokenRejected
from app.crypto.strict_json import strict_object

MAX_ID_TOKEN_LENGTH = 32_768
"""Room for the 200 groups that Microsoft Entra puts into a token at most."""
NAMELESS = ""
"""In the place of the `kid` of a set's only key, which need not have one (OpenID Connect Core §10.1)."""


RSA_BITS = range(2048, 8193)


class UnknownKey(TokenRejected):
    """None of the given keys has the `kid` in the token's header."""


@dataclass(frozen=True)
class IdentityKey:
    """A provider's public key, and the only algorithm that it is used with."""

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
    """The keys of a provider's JWK set (RFC 7517 §5) that can verify ID tokens, by `kid`. Other keys are left out.

    Keys that share a `kid` are left out too: no key is better than a guess. So are keys without one, unless the only
    key has none. Raises ValueError if `document` is not a JWK set.
    """
    try:
        entries = strict_object(document)["keys"]
    except (KeyError, RecursionError) as error:
        raise ValueError("not a JWK set") from error
    if not isinstance(entries, list):
        raise ValueError("not a JWK set")
    usable = [(entry, key) for entry in entries if isinstance(entry, dict) and (key := _identity_key(entry))]
    if len(usable) == 1 and usable[0][0].get("kid") is None:
        return {NAMELESS: usable[0][1]}
    found: dict[str, list[IdentityKey]] = {}
    for entry, key in usable:
        if isinstance(kid := entry.get("kid"), str) and kid:
            found.setdefault(kid, []).append(key)
    return {kid: keys[0] for kid, keys in found.items() if len(keys) == 1}


def _identity_key(entry: Mapping[str, Any]) -> IdentityKey | None:
    """RS256 or ES256 by the key's type, or PS256 if the key names it. None for every other key."""
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


def unverified_claims(token: str) -> dict[str, Any]:
    """What a token says, which nobody has verified. Raises `TokenRejected`."""
    if len(token) > MAX_ID_TOKEN_LENGTH or not COMPACT.match(token):
        raise TokenRejected("not a compact JWS")
    try:
        return strict_object(unb64url(token.split(".")[1]))
    except (ValueError, RecursionError) as error:
        raise TokenRejected(type(error).__name__) from error


def claimed_issuer(token: str) -> str:
    """What an unverified token says in `iss`. It chooses among trusted issuers, and does nothing else.

    Raises `TokenRejected`.
    """
    issuer = unverified_claims(token).get("iss")
    return issuer if isinstance(issuer, str) else ""


def verify_identity_token(token: str, *, keys: Mapping[str, IdentityKey]) -> dict[str, Any]:
    """The claims of an ID token. The key that its `kid` names, or the only key if that has no `kid`, must verify the
    signature, with that key's algorithm.

    As strict as `verify_token`, but a provider's header may have members of its own. The caller checks the claims.
    Raises `UnknownKey`, `TokenRejected`, and nothing else.
    """
    if len(token) > MAX_ID_TOKEN_LENGTH or not COMPACT.match(token):
        raise TokenRejected("not a compact JWS")
    signed, _, _ = token.rpartition(".")
    try:
        header, claims, signature = (unb64url(part) for part in token.split("."))
        head = strict_object(header)
        kid, typ = head.get("kid"), head.get("typ", "JWT")
        if not OF_ANOTHER_KEY.isdisjoint(head) or not isinstance(typ, str) or typ.upper() != "JWT":
            raise TokenRejected("not the header of an ID token")
        if "kid" in head and not (isinstance(kid, str) and kid):
            raise UnknownKey("a kid that is none")
        key = keys.get(kid or NAMELESS) or keys.get(NAMELESS)
        if key is None:
            raise UnknownKey("an unknown kid")
        if head.get("alg") != key.algorithm:
            raise TokenRejected("not the algorithm of its key")
        if not key.key.verify(signed.encode(), signature):
            # A nameless key may have been replaced by another one.
            raise (
                UnknownKey("not signed by the only key") if NAMELESS in keys else TokenRejected("not signed by its key")
            )
        return strict_object(claims)
    except (JOSEError, ValueError, RecursionError) as error:
        raise TokenRejected(type(error).__name__) from error
