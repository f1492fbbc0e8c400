"""What an operator can be told of this service's surroundings: each finding says what is wrong, and how to repair it.

Nothing is printed here. `Checks.surroundings` vends no credential and writes nothing outside, so a page may ask for it;
`tokenvend doctor` adds what a vend and the isolation of users take.
"""

import asyncio
from collections.abc import Sequence

from app.auth.keys import Keyring
from app.auth.old_system import OldSystem
from app.auth.providers import Providers
from app.events.courier import Courier
from app.mail.transport import Transport
from app.platform.fetcher import Fetcher
from app.platform.process import Platform
from app.upkeep.checks import (
    cdn,
    database,
    machine,
    mail,
    old_system,
    providers,
    public_url,
    redis_servers,
    saml,
    secret_key,
    sts,
    webhook,
)
from app.upkeep.checks.findings import Finding, State
from app.vending.assertion import Assertions
from app.vending.broker import Broker
from app.vending.downloads import Downloads

__all__ = ["Checks", "Finding", "State"]

WITHIN = 5.0
"""Seconds for each answer of another server."""
KEPT_FOR = 10.0
"""Seconds that `Checks.recent` keeps what was found."""


class Checks:
    def __init__(
        self,
        platform: Platform,
        *,
        keyrings: Sequence[Keyring],
        broker: Broker,
        assertions: Assertions | None,
        downloads: Downloads,
        providers: Providers,
        transport: Transport,
        fetcher: Fetcher,
        old_system: OldSystem | None,
        courier: Courier | None,
        within: float = WITHIN,
    ) -> None:
        self._platform = platform
        self._keyrings = keyrings
        self._broker = broker
        self._assertions = assertions
        self._downloads = downloads
        self._providers = providers
        self._transport = transport
        self._fetcher = fetcher
        self._old_system = old_system
        self._courier = courier
        self._within = within
        self._lock = asyncio.Lock()
        self._found: list[Finding] = []
        self._found_at = float("-inf")

    async def recent(self) -> list[Finding]:
        """`surroundings`, kept for `KEPT_FOR`. However many ask, other servers are called once in that time."""
        clock = self._platform.clock
        async with self._lock:
            if clock.monotonic() - self._found_at > KEPT_FOR:
                self._found = await self.surroundings()
                self._found_at = clock.monotonic()
        return self._found

    async def surroundings(self) -> list[Finding]:
        """All findings, in the order in which to repair them. Reads `.env` of the working directory."""
        settings = self._platform.settings
        found = await asyncio.gather(
            asyncio.to_thread(machine.dotenv),
            self._database_and_public_url(),
            asyncio.to_thread(machine.disk, settings),
            redis_servers.check(settings, within=self._within),
            providers.check(self._providers),
            old_system.check(self._old_system),
            webhook.check(self._courier, self._platform.clock),
            self._mail(),
            sts.check(settings, self._broker),
            cdn.check(self._platform, self._downloads, self._fetcher),
        )
        return [*(finding for findings in found for finding in findings), *saml.check(self._assertions)]

    async def _database_and_public_url(self) -> list[Finding]:
        """In this order: the keys that are published tell whether this very service answers."""
        platform = self._platform
        found = await database.check(platform.database, platform.settings, self._keyrings)
        has_key = bool(platform.settings.secret_key.get_secret_value())
        if has_key and all(finding.state != "failed" or finding.name == "keys" for finding in found):
            found.append(await secret_key.check(platform))
        kids = [key["kid"] for keyring in self._keyrings[:1] for key in keyring.jwks()["keys"]]
        return [
            *found,
            *await public_url.check(platform.settings, self._fetcher, platform.clock, kids, within=self._within),
        ]

    async def _mail(self) -> list[Finding]:
        return [await mail.check(self._transport, within=self._within)]
