"""The OpenID providers in the settings, and the keys that verify their ID tokens.

The settings and the discovery documents of their issuers say what is fetched; a token never does. Keys are kept for an
hour. They are fetched again when a token names an unknown key, and trusted for a day if the provider does not answer.
"""

import asyncio
import math
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp
import structlog

from app.crypto import identity_keys, strict_json
from app.crypto.identity_keys import IdentityKey
from app.platform.clock import Clock
from app.platform.fetcher import FETCH_WITHIN, Fetcher, Unusable
from app.platform.problems import IdentityProviderUnavailable, NotFound
from app.platform.settings import LOOPBACK, OidcProvider

log = structlog.get_logger("tokenvend.oidc")

KEPT_FOR = 3600.0
TRUSTED_FOR = 86_400.0
"""Seconds that keys are trusted while the provider does not answer."""
SOUGHT_EVERY = 60.0
"""Seconds between two searches for an unknown key, so that tokens cannot make this service flood a provider. Also the
time between two tries to renew keys that are still trusted."""
RETRY_AFTER = 5
"""Seconds before a silent provider is asked again if there are no trusted keys."""


class Provider:
    """One issuer."""

    def __init__(self, name: str, terms: OidcProvider, fetcher: "Fetcher", clock: Clock) -> None:
        self.name = name
        self.issuer = terms.issuer
        self.client_ids = frozenset(terms.client_ids)
        self._fetcher = fetcher
        self._clock = clock
        self._keys: Mapping[str, IdentityKey] = {}
        self._loaded_at = self._failed_at = self._sought_at = -math.inf
        self._loading = asyncio.Lock()

    async def keys(self, *, seek: bool = False) -> Mapping[str, IdentityKey]:
        """The keys by kid. `seek`: a token names an unknown key. Raises `IdentityProviderUnavailable` without keys.

        If many callers wait, one fetches.
        """
        if self._is_due(seek=seek):
            async with self._loading:
                if self._is_due(seek=seek):
                    await self._load(seek=seek)
        if not self._is_trusted():
            raise IdentityProviderUnavailable(retry_after=RETRY_AFTER, cause=f"no keys of {self.name}")
        return self._keys

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
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError, Unusable) as error:
            self._failed_at = self._clock.monotonic()
            cause = str(error) if isinstance(error, Unusable) else type(error).__name__
            log.warning("identity_provider_unavailable", provider=self.name, cause=cause)
        else:
            self._loaded_at = self._clock.monotonic()

    async def _fetch_keys(self) -> Mapping[str, IdentityKey]:
        """OpenID Connect Discovery 1.0 §4. The issuer must be exactly the configured one (§4.3)."""
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        discovered = strict_json.strict_object(await self._fetcher.get(url))
        if discovered.get("issuer") != self.issuer:
            raise Unusable("the discovery document is of another issuer")
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


class Providers:
    """All providers, by name."""

    def __init__(self, terms: Mapping[str, OidcProvider], clock: Clock) -> None:
        self._fetcher = Fetcher()
        self._providers = {name: Provider(name, of_one, self._fetcher, clock) for name, of_one in terms.items()}

    def get(self, name: str) -> Provider:
        """Raises `NotFound`."""
        if name not in self._providers:
            raise NotFound
        return self._providers[name]

    async def close(self) -> None:
        await self._fetcher.close()
