"""Credentials in memory, and one issuance for all who ask for the same at once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from app.clock import Clock

if TYPE_CHECKING:
    from app.credentials.broker import Order, StsCredential

MOST_ENTRIES = 10_000
"""About 2 KiB each."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential that is in the ledger."""

    credential_id: UUID
    order: "Order"
    credential: "StsCredential"
    issued_at: datetime

    def fresh(self, now: datetime) -> bool:
        """More than half of its life is left; older ones are not handed out again."""
        return self.credential.expires_at - now > (self.credential.expires_at - self.issued_at) / 2


class CredentialCache:
    """Keyed by the whole order. Failures are never kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[Order, Issued] = OrderedDict()
        self._flights: dict[Order, asyncio.Task[Issued]] = {}

    async def obtain(self, order: "Order", issue: Callable[[], Awaitable[Issued]]) -> Issued:
        """The cached credential, or the one that `issue` gives to everybody who waits. Raises what `issue` raises."""
        entry = self._entries.get(order)
        if entry is not None and entry.fresh(self._clock.now()):
            return entry
        flight = self._flights.get(order)
        if flight is None:
            flight = self._flights[order] = asyncio.create_task(self._issue(order, issue))
            flight.add_done_callback(_retrieve)
        # Shielded: a caller that hangs up does not take the credential from the others.
        return await asyncio.shield(flight)

    async def _issue(self, order: "Order", issue: Callable[[], Awaitable[Issued]]) -> Issued:
        try:
            issued = await issue()
        finally:
            del self._flights[order]
        self._entries[order] = issued
        self._entries.move_to_end(order)
        if len(self._entries) > MOST_ENTRIES:
            self._entries.popitem(last=False)
        return issued


def _retrieve(flight: "asyncio.Task[Issued]") -> None:
    """Marks a failure as seen: all who waited for it may have hung up."""
    if not flight.cancelled():
        flight.exception()
