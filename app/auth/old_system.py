"""The system that users move here from. It is asked about a password once for each user, at the first sign-in.

What all such systems have in common is here: nobody is asked while the system is down, all refusals take one time and
are one answer, and the answer is for the address that was asked about or for none.
"""

import asyncio
import random
import secrets
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from app.platform.breaker import Breaker
from app.platform.clock import Clock
from app.platform.fetcher import Fetcher, Unusable
from app.platform.metrics import Metrics
from app.platform.problems import UserPoolUnavailable
from app.records import addresses
from app.records.addresses import Address

RETRY_AFTER = 5
REMEMBERED = 100
"""How many calls are remembered: what they took, or that they got no answer."""
NOBODYS = "example.com"
"""A domain that is reserved for examples (RFC 2606), so nobody has an address there."""
DOWN = frozenset({502, 503, 504})
"""Statuses that the next question would get too. A 500 may be about this one alone, and a 429 about who floods."""


@dataclass(frozen=True)
class Claimed:
    """What the old system says of a user whose password is right there."""

    email: str
    verified: bool
    name: str | None = None


@dataclass(frozen=True)
class Known:
    """A user whose password is right there."""

    address: Address
    """As the old system spells it."""
    verified: bool
    name: str | None


class NoAnswer(Exception):
    """The message is for the log. It repeats nothing of question or answer.

    `down`: whether the next question would get no answer either.
    """

    def __init__(self, cause: str, *, down: bool) -> None:
        super().__init__(cause)
        self.down = down


class OldSystem(ABC):
    brings: frozenset[str]
    """Whose users it is asked about: values of `User.password_from`."""

    def __init__(self, clock: Clock, metrics: Metrics, *, connect_within: float, within: float) -> None:
        """`connect_within`, `within`: seconds for a connection, and for a whole call."""
        self._clock = clock
        self._metrics = metrics
        self._fetcher = Fetcher(within=within, connect_within=connect_within)
        self._breaker = Breaker(clock)
        self._taken: deque[float | None] = deque([0.1], maxlen=REMEMBERED)

    async def find_user(self, email: str, password: str) -> Known | None:
        """The user, or None unless the password is right there and the answer is about this very address.

        A right password whose answer cannot be used gives None too, so that it looks like a wrong one.
        Raises `UserPoolUnavailable`.
        """
        if not self._breaker.takes_calls:
            self._count("spared")
            raise UserPoolUnavailable(retry_after=RETRY_AFTER, cause="it was down a moment ago")
        self._breaker.begin()
        started = self._clock.monotonic()
        try:
            claimed = await self._ask(email, password)
        except NoAnswer as fault:
            self._count("unavailable")
            self._taken.append(None)
            if fault.down and self._breaker.failed():
                self._metrics.old_system_open.set(1)
            raise UserPoolUnavailable(retry_after=RETRY_AFTER, cause=str(fault)) from fault
        self._taken.append(self._clock.monotonic() - started)
        if self._breaker.succeeded():
            self._metrics.old_system_open.set(0)
        known = None if claimed is None else _known(claimed, email)
        self._count("no" if known is None else "yes")
        return known

    async def linger(self) -> None:
        """Makes a refusal without a question look like one with a question: the same time, and the same answer.

        Waits as long as one of the last answers took. If one of the last calls got no answer, asks about nobody
        instead, so that an outage looks the same for every address, however long it lasts and whomever it meets.
        Raises `UserPoolUnavailable`.
        """
        times = [taken for taken in self._taken if taken is not None]
        if len(times) < len(self._taken):
            await self.find_user(f"{secrets.token_hex(12)}@{NOBODYS}", secrets.token_urlsafe(12))
        else:
            await asyncio.sleep(random.choice(times))  # noqa: S311 - no secret

    async def close(self) -> None:
        await self._fetcher.close()

    @abstractmethod
    async def _ask(self, email: str, password: str) -> Claimed | None:
        """None if the old system says no. Raises `NoAnswer`."""

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer. Redirects are not followed. Raises `NoAnswer`."""
        try:
            return await self._fetcher.request("POST", url, body=body, headers=headers)
        except (Unusable, TimeoutError) as error:
            raise NoAnswer(str(error) or type(error).__name__, down=True) from error

    def _count(self, outcome: str) -> None:
        self._metrics.old_system_calls.labels(outcome).inc()


def _known(claimed: Claimed, asked: str) -> Known | None:
    there, here = addresses.find(claimed.email), addresses.find(asked)
    if there is None or here is None or there.key != here.key:
        return None
    return Known(there, claimed.verified, claimed.name)
