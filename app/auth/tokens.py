"""Access tokens: RFC 9068 JWTs that live 15 minutes. Only this module makes and verifies them."""

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.auth.keys import Keyring
from app.crypto import jws
from app.platform.clock import Clock
from app.platform.problems import InvalidToken

ACCESS_TOKEN_TTL = 900
"""Seconds."""
TYPE = "at+jwt"
CLIENT_ID = "tokenvend-app"
CLOCK_TOLERANCE = 10
"""Seconds by which the clocks of replicas may differ."""
CACHE_SIZE = 20_000
CLAIMS = frozenset({"iss", "aud", "sub", "sid", "client_id", "iat", "exp", "jti", "auth_time"})


@dataclass(frozen=True, slots=True)
class AccessClaims:
    user_id: uuid.UUID
    session_id: uuid.UUID
    expires_at: float
    """Seconds since the epoch."""
    kid_set: frozenset[str]
    """The keys that were trusted when the token was verified."""


class AccessTokens:
    """Mints and verifies tokens. It remembers verified tokens, by digest, until they expire or the keys change."""

    def __init__(self, keyring: Keyring, clock: Clock, *, issuer: str) -> None:
        self._keyring = keyring
        self._clock = clock
        self._issuer = issuer
        self._audience = f"{issuer}/v1"
        self._verified: OrderedDict[bytes, AccessClaims] = OrderedDict()
        self._kid_set: frozenset[str] = frozenset()
        """The latest, so that all claims share it."""

    def mint(self, *, user_id: uuid.UUID, session_id: uuid.UUID, authenticated_at: datetime) -> str:
        """A signed token for the session. Raises `KeysUnavailable`."""
        key = self._keyring.current()
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "sid": str(session_id),
            "client_id": CLIENT_ID,
            "iat": now,
            "exp": now + ACCESS_TOKEN_TTL,
            "jti": str(uuid.uuid4()),
            "auth_time": int(authenticated_at.timestamp()),
        }
        return jws.sign_token(claims, key=key.private, kid=key.kid, typ=TYPE)

    def remembered(self, token: str) -> AccessClaims | None:
        """The claims of a valid token that was verified before. Raises `KeysUnavailable`."""
        return self._remembered(_digest(token), self._keyring.verification_keys(), self._clock.now().timestamp())

    def _remembered(self, digest: bytes, keys: Mapping[str, Any], now: float) -> AccessClaims | None:
        known = self._verified.get(digest)
        return known if known is not None and now < known.expires_at and known.kid_set == keys.keys() else None

    def verify(self, token: str) -> AccessClaims:
        """The claims of a valid token. Raises `InvalidToken` for anything else."""
        now = self._clock.now().timestamp()
        keys = self._keyring.verification_keys()
        digest = _digest(token)
        known = self._remembered(digest, keys, now)
        if known is not None:
            return known
        if self._kid_set != keys.keys():
            self._kid_set = frozenset(keys)
        try:
            claims = self._claims(jws.verify_token(token, keys=keys, typ=TYPE), now, self._kid_set)
        except (jws.TokenRejected, ValueError) as error:
            self._verified.pop(digest, None)
            raise InvalidToken(cause=str(error)) from None
        self._verified[digest] = claims
        if len(self._verified) > CACHE_SIZE:
            self._verified.popitem(last=False)
        return claims

    def _claims(self, claims: dict[str, Any], now: float, kid_set: frozenset[str]) -> AccessClaims:
        """Checks that every claim of RFC 9068 §2.2 is present and has the right type. Raises ValueError."""
        if claims.keys() != CLAIMS:
            raise ValueError("a claim is missing or unknown")
        for name in ("iat", "exp", "auth_time"):
            if type(claims[name]) is not int:  # a bool is an int to isinstance
                raise ValueError(f"{name} is not a whole number")
        if claims["iss"] != self._issuer or claims["aud"] != self._audience or claims["client_id"] != CLIENT_ID:
            raise ValueError("made for somebody else")
        if not now < claims["exp"] <= claims["iat"] + ACCESS_TOKEN_TTL or claims["iat"] > now + CLOCK_TOLERANCE:
            raise ValueError("expired or not yet valid")
        _uuid(claims["jti"])
        return AccessClaims(_uuid(claims["sub"]), _uuid(claims["sid"]), float(claims["exp"]), kid_set)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _uuid(value: Any) -> uuid.UUID:
    """A UUID in its canonical spelling. Raises ValueError."""
    if not isinstance(value, str) or str(parsed := uuid.UUID(value)) != value:
        raise ValueError("not a canonical UUID")
    return parsed
