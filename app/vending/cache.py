"""Caches credentials so that they can be handed out again. Callers who ask for the same at once share one issuance."""

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
"""Problems that refuse a new credential although the caller may have one."""

Source = Literal["issued", "memory", "shared", "stale"]
Issue = Callable[[], Awaitable["Issued"]]
NewcomerAt = Callable[[], str | None]
"""Gives the client address of a newcomer; None for everybody else. It is not called for a hit."""


def _nowhere() -> None:
    """The `NewcomerAt` of somebody who is not a newcomer."""


class CredentialCache:
    """The cache of this process. Its key is the whole order. It never keeps failures."""

    def __init__(
        self, clock: Clock, metrics: Metrics, shared: Callable[[Order, Issue], Awaitable[Issued]] | None = None
    ) -> None:
        """`shared` is the cache of all replicas. It is asked for what this process does not have."""
        self._clock = clock
        self._live = metrics.live
        self._vends: dict[Source, Callable[[], None]] = {
            source: metrics.vends.labels(source).inc for source in ("issued", "memory", "shared", "stale")
        }
        self._shared = shared
        self._entries = Entries()
        self._flights: dict[Order, asyncio.Task[tuple[Issued, Source]]] = {}

    async def obtain(self, order: Order, issue: Issue, newcomer_at: NewcomerAt = _nowhere) -> Issued:
        """The cached credential, or a new one by `issue`, which every caller waiting for the same order gets.

        If no new one can be issued, returns the cached one while at least ten minutes of it are left. Newcomers'
        entries make room for those of others. Raises what `issue` raises.
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
        """The result of the flight that is under way, or else of one that this call starts."""
        while (flight := self._flights.get(order)) is not None:
            with contextlib.suppress(RateLimited):  # another client address may have used up its share, not ours
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
    """Marks a failure as seen, as everybody who waited for it may have hung up."""
    if not flight.cancelled():
        flight.exception()
