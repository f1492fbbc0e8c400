"""Credentials that can be handed out again, and one issuance for all who ask for the same at once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from app.clock import Clock
from app.credentials.broker import StsCredential
from app.credentials.orders import Order
from app.metrics import Metrics
from app.problems import Overloaded, StsRefused, StsThrottled, StsUnavailable

MOST_ENTRIES = 10_000
"""About 2 KiB each."""
LEAST_LEFT = timedelta(minutes=10)
"""Of a credential that is handed out again only because STS gives no other."""
STS_PROBLEMS = (StsThrottled, StsUnavailable, StsRefused, Overloaded)

Source = Literal["issued", "memory", "shared", "stale"]
Issue = Callable[[], Awaitable["Issued"]]


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential that is in the ledger."""

    credential_id: UUID
    order: Order
    credential: StsCredential
    issued_at: datetime

    def fresh(self, now: datetime) -> bool:
        """More than half of its life is left; older ones are not handed out while STS gives new ones."""
        return self.credential.expires_at - now > (self.credential.expires_at - self.issued_at) / 2

    def usable(self, now: datetime) -> bool:
        return self.credential.expires_at - now > LEAST_LEFT


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
        self._entries: OrderedDict[Order, Issued] = OrderedDict()
        self._flights: dict[Order, asyncio.Task[tuple[Issued, Source]]] = {}

    async def obtain(self, order: Order, issue: Issue) -> Issued:
        """The cached credential, or the one that `issue` gives to everybody who waits.

        Where STS gives none, the cached one as long as ten minutes of it are left. Raises what `issue` raises.
        """
        entry = self._entries.get(order)
        if entry is not None and entry.fresh(self._clock.now()):
            self._vends["memory"]()
            return entry
        flight = self._flights.get(order)
        first = flight is None
        if flight is None:
            flight = self._flights[order] = asyncio.create_task(self._issue(order, issue))
            flight.add_done_callback(_retrieve)
        try:
            # Shielded: a caller that hangs up does not take the credential from the others.
            issued, source = await asyncio.shield(flight)
        except STS_PROBLEMS:
            if entry is None or not entry.usable(self._clock.now()):
                raise
            issued, source = entry, "stale"
        self._vends[source if first or source == "stale" else "memory"]()
        return issued

    async def _issue(self, order: Order, issue: Issue) -> tuple[Issued, Source]:
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
        self._entries[order] = issued
        self._entries.move_to_end(order)
        if len(self._entries) > MOST_ENTRIES:
            self._entries.popitem(last=False)
        return issued, source


def _retrieve(flight: "asyncio.Task[tuple[Issued, Source]]") -> None:
    """Marks a failure as seen: all who waited for it may have hung up."""
    if not flight.cancelled():
        flight.exception()
