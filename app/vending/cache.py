"""Caches credentials so that they can be handed out again. Callers who ask for the same at once share one issuance."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

from app.platform.clock import Clock
from app.platform.metrics import ContainerOutcome, Metrics
from app.platform.problems import Overloaded, RateLimited, StsRefused, StsThrottled, StsUnavailable
from app.vending.entries import LEAST_LEFT, LEAST_LEFT_FOR_SDK, Entries, Issued
from app.vending.orders import Order

NONE_TO_BE_HAD = (StsThrottled, StsUnavailable, StsRefused, Overloaded, RateLimited)
"""Problems that refuse a new credential although the caller may have one."""

BUDGET = 0.7
"""Seconds for a caller that waits for one: the timeout of AWS's C++ SDK at the container endpoint."""

Source = Literal["issued", "memory", "shared", "stale"]
Issue = Callable[[], Awaitable["Issued"]]
Note = Callable[["Issued"], None]
NewcomerAt = Callable[[], str | None]
"""Gives the client address of a newcomer; None for everybody else. It is not called for a hit."""


def _nowhere() -> None:
    """The `NewcomerAt` of somebody who is not a newcomer."""


class CredentialCache:
    """The cache of this process. Its key is the whole order. It never keeps failures."""

    def __init__(
        self, clock: Clock, metrics: Metrics, shared: Callable[[Order, Issue, Note], Awaitable[Issued]] | None = None
    ) -> None:
        """`shared` is the cache of all replicas. It is asked for what this process does not have.

        It may note what it has before it waits for a new one.
        """
        self._clock = clock
        self._live = metrics.live
        self._late = metrics.container_late
        self._vends: dict[Source, Callable[[], None]] = {
            source: metrics.vends.labels(source).inc for source in ("issued", "memory", "shared", "stale")
        }
        self._shared = shared
        self._entries = Entries()
        self._flights: dict[Order, asyncio.Task[tuple[Issued, Source]]] = {}

    async def obtain(
        self, order: Order, issue: Issue, newcomer_at: NewcomerAt = _nowhere, *, for_sdk: bool = False
    ) -> Issued:
        """The cached credential, or a new one by `issue`, which every caller waiting for the same order gets.

        If no new one can be issued, returns the cached one while at least ten minutes of it are left. `for_sdk`: while
        at least a minute is left, and also after `BUDGET`, while the new one is still on its way. Newcomers' entries
        make room for those of others. Raises what `issue` raises.
        """
        least = LEAST_LEFT_FOR_SDK if for_sdk else LEAST_LEFT
        entry = self._entries.use(order)
        if entry is not None and entry.fresh(self._clock.now()):
            self._vends["memory"]()
            return entry
        try:
            fly = self._fly_in_time if for_sdk else self._fly
            issued, source = await fly(order, issue, newcomer_at)
        except NONE_TO_BE_HAD:
            if entry is None or not entry.lasts(self._clock.now(), least):
                raise
            issued, source = entry, "stale"
        self._vends[source]()
        return issued

    def at_hand(self, order: Order) -> Issued | None:
        """The cached credential that `obtain` would return at once. It is not counted: see `note_handed_out`."""
        entry = self._entries.use(order)
        return entry if entry is not None and entry.fresh(self._clock.now()) else None

    def note_handed_out(self) -> None:
        self._vends["memory"]()

    async def _fly_in_time(self, order: Order, issue: Issue, newcomer_at: NewcomerAt) -> tuple[Issued, Source]:
        """What `_fly` returns, or after `BUDGET` the cached one. The flight goes on, and the next to ask finds more."""
        try:
            async with asyncio.timeout(BUDGET) as budget:
                return await self._fly(order, issue, newcomer_at)
        except TimeoutError:
            if not budget.expired():
                raise
        outcome: ContainerOutcome = "refused"
        try:
            entry = self._entries.use(order)
            if entry is not None and entry.lasts(self._clock.now(), LEAST_LEFT_FOR_SDK):
                outcome = "older"
                return entry, "stale"
            flown = await self._fly(order, issue, newcomer_at)
            outcome = "new"
            return flown
        finally:
            self._late.labels(outcome).inc()

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

        def keep(issued: Issued) -> None:
            self._entries.keep(order, issued, newcomer_at())

        try:
            issued = await (self._shared(order, issue_here, keep) if self._shared else issue_here())
        finally:
            del self._flights[order]
        if source == "shared" and not issued.fresh(self._clock.now()):
            source = "stale"
        keep(issued)
        return issued, source


def _retrieve(flight: "asyncio.Task[tuple[Issued, Source]]") -> None:
    """Marks a failure as seen, as everybody who waited for it may have hung up."""
    if not flight.cancelled():
        flight.exception()
