"""Credentials that can be handed out again, and one issuance for all who ask for the same at once."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

from app.platform.clock import Clock
from app.platform.metrics import Metrics
from app.platform.problems import Overloaded, RateLimited, StsRefused, StsThrottled, StsUnavailable
from app.vending.entries import Entries, Issued
from app.vending.orders import Order

NONE_TO_BE_HAD = (StsThrottled, StsUnavailable, StsRefused, Overloaded, RateLimited)
"""What refuses a new credential, though the caller may have one."""

Source = Literal["issued", "memory", "shared", "stale"]
Issue = Callable[[], Awaitable["Issued"]]
NewcomerAt = Callable[[], str | None]
"""The client address of a newcomer; None for everybody else. A hit never asks for it."""


def _nowhere() -> None:
    """Of somebody who is no newcomer."""


class CredentialCache:
    """This process's. Keyed by the whole order; failures are never kept."""

    def __init__(
        self, clock: Clock, metrics: Metrics, shared: Callable[[Order, Issue], Awaitable[Issued]] | None = None
    ) -> None:
        """`shared` is asked for what this process does not have: the cache of all replicas."""
        self._clock = clock
        self._live = metrics.live
        self._vends: dict[Source, Callable[[], None]] = {
            source: metrics.vends.labels(source).inc for source in ("issued", "memory", "shared", "stale")
        }
        self._shared = shared
        self._entries = Entries()
        self._flights: dict[Order, asyncio.Task[tuple[Issued, Source]]] = {}

    async def obtain(self, order: Order, issue: Issue, newcomer_at: NewcomerAt = _nowhere) -> Issued:
        """The cached credential, or the one that `issue` gives to everybody who waits.

        Where no new one is to be had, the cached one as long as ten minutes of it are left. Newcomers' entries make
        room for those of others. Raises what `issue` raises.
        """
        entry = self._entries.use(order)
        if entry is not None and entry.fresh(self._clock.now()):
            self._vends["memory"]()
            return entry
        try:
            issued, source = await self._fly(order, issue, newcomer_at)
        except NONE_TO_BE_HAD:
            if entry is None or not entry.usable(self._clock.now()):
                raise
            issued, source = entry, "stale"
        self._vends[source]()
        return issued

    async def _fly(self, order: Order, issue: Issue, newcomer_at: NewcomerAt) -> tuple[Issued, Source]:
        """What the flight that is under way brings, or else one of the caller's own."""
        while (flight := self._flights.get(order)) is not None:
            with contextlib.suppress(RateLimited):  # the address that began it may have used up its share: not ours
                issued, source = await asyncio.shield(flight)
                return issued, source if source == "stale" else "memory"
        flight = self._flights[order] = asyncio.create_task(self._issue(order, issue, newcomer_at))
        flight.add_done_callback(_retrieve)
        # Shielded: a caller that hangs up does not take the credential from the others.
        return await asyncio.shield(flight)

    async def _issue(self, order: Order, issue: Issue, newcomer_at: NewcomerAt) -> tuple[Issued, Source]:
        source: Source = "shared"

        async def issue_here() -> Issued:
            nonlocal source
            issued = await issue()
            source = "issued"
            self._live.add(issued.credential.expires_at)
            return issued

        try:
            issued = await (self._shared(order, issue_here) if self._shared else issue_here())
        finally:
            del self._flights[order]
        if source == "shared" and not issued.fresh(self._clock.now()):
            source = "stale"
        self._entries.keep(order, issued, newcomer_at())
        return issued, source


def _retrieve(flight: "asyncio.Task[tuple[Issued, Source]]") -> None:
    """Marks a failure as seen: all who waited for it may have hung up."""
    if not flight.cancelled():
        flight.exception()
