"""Verifies ID tokens of outside providers (OpenID Connect Core 1.0 §3.1.3.7).

Each token contains a nonce that was issued here, and works once.
"""

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.auth.providers import Provider, Providers
from app.crypto import hashing, identity_keys, jws
from app.crypto.vault import Vault
from app.platform.logs import log
from app.platform.printable import cleaned
from app.platform.problems import InvalidIdentityToken, InvalidSingleUseToken
from app.platform.process import Platform
from app.records import addresses, single_use
from app.records.addresses import Address

NONCE_TTL = timedelta(minutes=10)
OLDEST = 3600
"""Seconds since the token was issued. An older one is refused even if it claims a longer life."""
CLOCK_TOLERANCE = 60
"""Seconds that a provider's clock may be ahead."""
SUBJECT = re.compile(r"[\x20-\x7e]{1,255}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
LONGEST_NAME = 100


@dataclass(frozen=True)
class OutsideIdentity:
    """A person as a provider identifies them. Only `issuer` and `subject` tell one person from another."""

    provider: str
    issuer: str
    subject: str
    client_id: str
    """The app that the token was made for."""
    email: str | None
    address: Address | None
    """The same address if the provider has verified it, otherwise None."""
    name: str | None
    nonce_digest: str = field(repr=False)


async def issue_nonce(platform: Platform, providers: Providers, *, provider: str) -> tuple[str, datetime]:
    """A nonce for one ID token of the provider, and when it expires. Raises `NotFound`."""
    providers.check(provider)
    now = platform.clock.now()
    return await platform.database.write(_issue_nonce, platform.vault, now, provider=provider), now + NONCE_TTL


def _issue_nonce(session: Session, vault: Vault, now: datetime, *, provider: str) -> str:
    return single_use.issue(
        session,
        vault,
        now,
        "oidc_nonce",
        ttl=NONCE_TTL,
        data={"provider": provider},
        returns_as=hashing.sha256_hex,
    )


async def verify(platform: Platform, providers: Providers, *, provider: str, id_token: str) -> OutsideIdentity:
    """The identity that the token is about. The caller must use up its nonce by `use_nonce` in its transaction.

    Raises `NotFound`, `InvalidIdentityToken`, `IdentityProviderUnavailable`, `IdentityProviderMisconfigured`.
    """
    try:
        issuer = providers.get(provider, id_token)
        return _identity(issuer, await _signed_claims(issuer, id_token), platform.clock.now().timestamp())
    except (jws.TokenRejected, ValueError) as error:
        log.info("identity_token_refused", provider=provider, cause=str(error))
        raise InvalidIdentityToken(cause=str(error)) from None


def use_nonce(session: Session, vault: Vault, now: datetime, identity: OutsideIdentity) -> None:
    """Raises `InvalidIdentityToken` if the nonce was not issued here for this provider, or was used before."""
    try:
        claim = single_use.claim(session, vault, now, "oidc_nonce", identity.nonce_digest)
    except InvalidSingleUseToken:
        raise InvalidIdentityToken(cause="no such nonce") from None
    if claim.data["provider"] != identity.provider:
        raise InvalidIdentityToken(cause="the nonce was issued for another provider")


async def _signed_claims(provider: Provider, id_token: str) -> dict[str, Any]:
    try:
        return identity_keys.verify_identity_token(id_token, keys=await provider.keys())
    except identity_keys.UnknownKey:  # perhaps a new key
        return identity_keys.verify_identity_token(id_token, keys=await provider.keys(seek=True))


def _identity(provider: Provider, claims: dict[str, Any], now: float) -> OutsideIdentity:
    """Raises ValueError that says what is wrong."""
    if claims.get("iss") not in provider.spellings:
        raise ValueError("of another issuer")
    if provider.tenant is not None and claims.get("tid") != provider.tenant:
        raise ValueError("tid is not the tenant of the issuer")
    client_id = _checked_audience(claims, provider.client_ids)
    _check_times(claims, now)
    subject, nonce = claims.get("sub"), claims.get("nonce")
    if not isinstance(subject, str) or not SUBJECT.match(subject):
        raise ValueError("sub is not up to 255 ASCII characters")
    if not isinstance(nonce, str):
        raise ValueError("nonce is not a text")
    email, name = claims.get("email"), claims.get("name")
    address = addresses.find(email) if isinstance(email, str) else None
    verified = claims.get("email_verified") is True or claims.get("email_verified") == "true"  # Apple sends a string
    if provider.tenant is not None:
        verified = False  # a tenant's administrators write any address into its tokens
    return OutsideIdentity(
        provider=provider.name,
        issuer=provider.issuer,
        subject=subject,
        client_id=client_id,
        email=address.text if address else None,
        address=address if verified else None,
        name=cleaned(name, LONGEST_NAME) if isinstance(name, str) else None,
        # Some SDKs send the nonce's digest, as Apple requires, and others the nonce. Both are kept as the digest.
        nonce_digest=nonce if DIGEST.match(nonce) else hashing.sha256_hex(nonce),
    )


def _checked_audience(claims: dict[str, Any], client_ids: frozenset[str]) -> str:
    """The app that the token was made for."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in audiences) or client_ids.isdisjoint(audiences):
        raise ValueError("made for another app")
    if len(audiences) == 1:
        return str(audiences[0])
    if not isinstance(claims.get("azp"), str) or claims["azp"] not in client_ids:
        raise ValueError("several audiences, and azp is none of ours")
    return str(claims["azp"])


def _check_times(claims: dict[str, Any], now: float) -> None:
    times = [claims.get("iat"), claims.get("exp"), claims.get("nbf", 0)]
    if not all(type(time) is int or (type(time) is float and math.isfinite(time)) for time in times):
        raise ValueError("a time is not a number")  # RFC 7519 §2 allows fractions; a bool is an int to isinstance
    issued_at, expires_at, not_before = times
    if not now - OLDEST < issued_at <= now + CLOCK_TOLERANCE or not_before > now + CLOCK_TOLERANCE:
        raise ValueError("made in the future or too long ago")
    if expires_at <= now:
        raise ValueError("expired")
