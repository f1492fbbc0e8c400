"""The OpenID providers in the settings, and the keys that verify their ID tokens.

The settings and the discovery documents of their issuers say what is fetched; a token never does. Keys are kept for an
hour. They are fetched again when a token names an unknown key, and trusted for a day if the provider does not answer.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from app.auth.client_keys import ClientKey
from app.crypto import identity_keys, strict_json
from app.crypto.identity_keys import IdentityKey
from app.crypto.jws import TokenRejected
from app.platform.clock import Clock
from app.platform.fetcher import FETCH_WITHIN, Fetcher, Unusable
from app.platform.logs import log
from app.platform.printable import cleaned
from app.platform.problems import IdentityProviderMisconfigured, IdentityProviderUnavailable, NotFound
from app.platform.settings import LOOPBACK, TENANT, OidcProvider

KEPT_FOR = 3600.0
TRUSTED_FOR = 86_400.0
"""Seconds that keys are trusted while the provider does not answer."""
SOUGHT_EVERY = 60.0
"""Seconds between two searches for an unknown key, so that tokens cannot make this service flood a provider. Also the
time between two tries to renew keys that are still trusted."""
RETRY_AFTER = 5
"""Seconds before a silent provider is asked again if there are no trusted keys."""


ProviderState = Literal["answers", "silent", "misconfigured", "not_asked_yet"]
FETCH_FAULTS = (Unusable, TimeoutError, ValueError, RecursionError)


class Misconfigured(Unusable):
    """The provider's settings are wrong, so it is no use to try again. The message tells the operator what to mend."""


class Provider:
    """One issuer. `tenant`: its id, if it is one of several tenants of the same provider."""

    def __init__(
        self,
        name: str,
        issuer: str,
        client_ids: Iterable[str],
        *,
        fetcher: Fetcher,
        clock: Clock,
        tenant: str | None = None,
        client_key: ClientKey | None = None,
    ) -> None:
        self.name = name
        self.issuer = issuer
        self.spellings = (issuer, issuer.partition("://")[2])
        """Of `iss`. Google writes its own with and without `https://` (developers.google.com/identity, "Verify the
        Google ID token on your server side")."""
        self.client_ids = frozenset(client_ids)
        self.tenant = tenant
        self.client_key = client_key
        self._fetcher = fetcher
        self._clock = clock
        self._keys: Mapping[str, IdentityKey] = {}
        self._loaded_at = self._failed_at = self._sought_at = -math.inf
        self._misconfigured: Misconfigured | None = None
        self._loading = asyncio.Lock()

    async def keys(self, *, seek: bool = False) -> Mapping[str, IdentityKey]:
        """The keys by kid. `seek`: a token names an unknown key. Without keys it raises `IdentityProviderUnavailable`,
        or `IdentityProviderMisconfigured` if only the operator can help.

        If many callers wait, one fetches.
        """
        if self._is_due(seek=seek):
            async with self._loading:
                if self._is_due(seek=seek):
                    await self._load(seek=seek)
        if not self._is_trusted():
            if self._misconfigured is not None:
                raise IdentityProviderMisconfigured(cause=f"{self.name}: {self._misconfigured}")
            raise IdentityProviderUnavailable(retry_after=RETRY_AFTER, cause=f"no keys of {self.name}")
        return self._keys

    @property
    def state(self) -> ProviderState:
        """What this process last saw of it. It asks nobody."""
        if self._misconfigured is not None:
            return "misconfigured"
        if self._failed_at > self._loaded_at:
            return "silent"
        return "answers" if math.isfinite(self._loaded_at) else "not_asked_yet"

    def _is_due(self, *, seek: bool) -> bool:
        now = self._clock.monotonic()
        if seek:
            return now - self._sought_at >= SOUGHT_EVERY
        # With trusted keys, do not wait for a silent provider again and again.
        pause = SOUGHT_EVERY if self._is_trusted() else RETRY_AFTER
        return now - self._loaded_at >= KEPT_FOR and now - self._failed_at >= pause

    def _is_trusted(self) -> bool:
        return self._clock.monotonic() - self._loaded_at < TRUSTED_FOR

    async def _load(self, *, seek: bool) -> None:
        if seek:
            self._sought_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(FETCH_WITHIN):
                self._keys = await self._fetch_keys()
        except FETCH_FAULTS as error:
            self._failed_at = self._clock.monotonic()
            self._misconfigured = error if isinstance(error, Misconfigured) else None
            cause = str(error) if isinstance(error, Unusable) else type(error).__name__
            event = "identity_provider_misconfigured" if self._misconfigured else "identity_provider_unavailable"
            log.warning(event, provider=self.name, cause=cause)
        else:
            self._misconfigured = None
            self._loaded_at = self._clock.monotonic()

    async def try_out(self) -> int:
        """The number of its keys, read anew. Raises `FETCH_FAULTS`."""
        async with asyncio.timeout(FETCH_WITHIN):
            return len(await self._fetch_keys())

    async def _fetch_keys(self) -> Mapping[str, IdentityKey]:
        """OpenID Connect Discovery 1.0 §4. The issuer must be exactly the configured one (§4.3)."""
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            discovered = strict_json.strict_object(await self._fetcher.get(url))
        except Unusable as error:
            if error.status is not None and (300 <= error.status < 400 or error.status in (404, 410)):
                raise Misconfigured(
                    f"{url} answers with status {error.status}, and no redirect is followed: set `issuer` to the very "
                    "address that the provider's discovery document and its ID tokens have"
                ) from None
            raise
        if (said := discovered.get("issuer")) != self.issuer:
            raise Misconfigured(_another_issuer(said, self.issuer))
        keys_url = discovered.get("jwks_uri")
        if not isinstance(keys_url, str) or not self._may_name(keys_url):
            raise Unusable("jwks_uri is not https")
        keys = identity_keys.identity_keys(await self._fetcher.get(keys_url))
        if not keys:
            raise Unusable("no key that verifies ID tokens")
        return keys

    def _may_name(self, url: str) -> bool:
        parts = urlsplit(url)
        on_this_machine = self.issuer.startswith("http:") and parts.scheme == "http" and parts.hostname in LOOPBACK
        return on_this_machine or (parts.scheme == "https" and bool(parts.hostname))


def _another_issuer(said: object, issuer: str) -> str:
    text = cleaned(said, 255) if isinstance(said, str) else None
    if text is None:
        return "the discovery document names no issuer: set `issuer` to the address of an OpenID provider"
    if TENANT in text:
        return f"the discovery document is for several tenants: set `issuer` to {text} and list their ids in `tenants`"
    return f"the discovery document is of the issuer {text}: set `issuer` to that in the place of {issuer}"


class Providers:
    """All providers, by name and issuer. One with several tenants has an issuer for each."""

    def __init__(self, terms: Mapping[str, OidcProvider], clock: Clock) -> None:
        self._fetcher = Fetcher()
        self._clock = clock
        self._providers: dict[str, dict[str, Provider]] = {}
        for name, of_one in terms.items():
            self.add(name, of_one)

    def add(self, name: str, terms: OidcProvider) -> None:
        client_key = ClientKey(name, terms, self._fetcher) if terms.revokes else None
        self._providers[name] = {
            issuer: Provider(
                name,
                issuer,
                terms.client_ids,
                fetcher=self._fetcher,
                clock=self._clock,
                tenant=tenant,
                client_key=client_key,
            )
            for issuer, tenant in terms.issuers.items()
        }

    def check(self, name: str) -> None:
        """Raises `NotFound` if there is no provider of the name."""
        if name not in self._providers:
            raise NotFound

    def get(self, name: str, id_token: str) -> Provider:
        """The provider whose keys must verify the token. Of several tenants it is the one that the token claims.

        Raises `NotFound`, and `TokenRejected` if the token claims another tenant.
        """
        self.check(name)
        by_issuer = self._providers[name]
        if len(by_issuer) == 1:
            return next(iter(by_issuer.values()))
        claimed = identity_keys.claimed_issuer(id_token)
        if claimed not in by_issuer:
            raise TokenRejected("of a tenant that is not listed")
        return by_issuer[claimed]

    def client_key(self, name: str) -> ClientKey | None:
        """The key that revokes what the provider authorized; None if there is no such provider, or it has none."""
        return next((provider.client_key for provider in self._providers.get(name, {}).values()), None)

    def list_all(self) -> list[Provider]:
        return [provider for by_issuer in self._providers.values() for provider in by_issuer.values()]

    async def close(self) -> None:
        await self._fetcher.close()
