"""The entries of the credential cache. Each user and all newcomers are bounded, so nobody evicts what others use.

Hits are far more frequent than issuances, so a hit only notes that it happened. Making room looks at the few oldest
entries and drops the least recently used one (the second chance of the clock algorithm).
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from app.aws.sts_client import StsCredential
from app.vending.orders import Order

MOST = 10_000
"""Entries in all, of about 2 KiB each."""
MOST_OF_A_USER = 30
"""As many as the new credentials that a user may get in a minute."""
MOST_OF_AN_ADDRESS = 500
"""Entries of newcomers from one client address. A flood from there leaves room to newcomers elsewhere."""
MOST_OF_NEWCOMERS = MOST // 4
"""When the cache is full, newcomers' entries are dropped first, until this many are left."""
LOOKED_AT = 16
"""Entries that are looked at to make room for one."""

RENEWS_EARLY = timedelta(minutes=15)
"""Before the end, AWS's SDK for Python begins to ask for another credential, before each of its calls."""
MARGIN = timedelta(seconds=90)
"""What an SDK gets lasts so much longer than that: it does not ask again at once."""
LEAST_LEFT = timedelta(minutes=10)
"""The life that a cached credential must have left to be handed out because no new one can be issued."""
LEAST_LEFT_FOR_SDK = timedelta(minutes=1)
"""The same at the container endpoint: an SDK that is refused may go on without a signature."""

ACCOUNTS, NEWCOMERS = object(), object()
"""Names of queues. No client address can be equal to them."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential that is in the ledger."""

    credential_id: UUID
    order: Order
    credential: StsCredential
    issued_at: datetime

    def fresh(self, now: datetime) -> bool:
        """Whether more than half of its life is left, and more than an SDK renews it before its end.

        Where it lives for less than twice that, half decides alone. Older ones are not handed out while STS issues new
        ones.
        """
        left, half = self.credential.expires_at - now, (self.credential.expires_at - self.issued_at) / 2
        if timedelta(seconds=self.order.duration) < 2 * RENEWS_EARLY:
            return left > half
        return left > max(half, RENEWS_EARLY + MARGIN)

    def lasts(self, now: datetime, least: timedelta = LEAST_LEFT) -> bool:
        """Whether it may be handed out because no new one can be issued."""
        return self.credential.expires_at - now > least


@dataclass(slots=True)
class _Entry:
    issued: Issued
    queues: tuple[Hashable, ...]
    """The names of its queues: one for each bound."""
    used_at: int
    """The count of uses at its last use."""


class Entries:
    def __init__(self) -> None:
        self._entries: dict[Order, _Entry] = {}
        self._queues: dict[Hashable, OrderedDict[Order, int]] = {}
        """Orders and the count of uses when they were queued, oldest first."""
        self._uses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def use(self, order: Order) -> "Issued | None":
        """The cached credential, if any. Notes the use, so that the entry stays longer."""
        entry = self._entries.get(order)
        if entry is None:
            return None
        self._uses = entry.used_at = self._uses + 1
        return entry.issued

    def keep(self, order: Order, issued: Issued, newcomer_at: str | None) -> None:
        """Adds or replaces one. `newcomer_at`: the client address of a newcomer; None for everybody else."""
        if order in self._entries:
            self._drop(order)
        # Whoever contributes by a link has a bound of their own. All of them together would else push out the owner's.
        bounds: dict[Hashable, int] = {order.contributor_id or order.user_id: MOST_OF_A_USER}
        if newcomer_at is not None:
            bounds[newcomer_at] = MOST_OF_AN_ADDRESS
        queues = (*bounds, ACCOUNTS if newcomer_at is None else NEWCOMERS)
        self._uses += 1
        self._entries[order] = _Entry(issued, queues, self._uses)
        for name in queues:
            self._queues.setdefault(name, OrderedDict())[order] = self._uses
        for name, most in bounds.items():
            if len(self._queues[name]) > most:
                self._make_room(name)
        if len(self._entries) > MOST:
            newcomers = self._queues.get(NEWCOMERS, ())
            self._make_room(NEWCOMERS if len(newcomers) > MOST_OF_NEWCOMERS else ACCOUNTS)

    def _make_room(self, name: Hashable) -> None:
        queue = self._queues[name]
        looked_at = list(islice(queue.items(), LOOKED_AT))
        for order, queued_at in looked_at:
            used_at = self._entries[order].used_at
            if used_at == queued_at:
                self._drop(order)
                return
            queue[order] = used_at
            queue.move_to_end(order)
        self._drop(min(looked_at, key=lambda entry: self._entries[entry[0]].used_at)[0])

    def _drop(self, order: Order) -> None:
        for name in self._entries.pop(order).queues:
            queue = self._queues[name]
            del queue[order]
            if not queue:
                del self._queues[name]
