"""Sends events to the operator's server, signed as Standard Webhooks say. A process makes one pass at a time.

Nothing of a message or an answer is logged, and neither is the address of the server.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from app.crypto import webhooks
from app.events import queue
from app.events.queue import Event
from app.platform.clock import Clock
from app.platform.db import Database
from app.platform.fetcher import PIECE, Fetcher, Unusable
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.reach import Reach

CONNECT_WITHIN = 3.0
WITHIN = 10.0
"""Seconds for a whole try, of which the lease of an event has several."""
STOPS_WITHIN = 3.0
"""Seconds that a replica which stops gives to what it is sending."""
AT_ONCE = 16
"""Messages that a process sends at once."""
LONGEST_FAULT = 64


class Undelivered(Exception):
    """The message names the fault and repeats nothing of the answer. `status`: of the answer, if there was one."""

    def __init__(self, fault: str, *, status: int | None = None) -> None:
        super().__init__(fault)
        self.fault = fault[:LONGEST_FAULT]
        self.status = status


class Courier:
    def __init__(
        self,
        url: str,
        keys: Sequence[bytes],
        clock: Clock,
        database: Database,
        *,
        reach: Reach,
        metrics: Metrics,
    ) -> None:
        """`keys`: each signs each message, so that a receiver may know any of them while one is changed."""
        self._url = url
        self._keys = keys
        self._clock = clock
        self._database = database
        self._metrics = metrics
        self._fetcher = Fetcher(within=WITHIN, connect_within=CONNECT_WITHIN, reach=reach, keeps=PIECE)
        self._pass = asyncio.Lock()

    async def deliver_waiting(self) -> bool:
        """Delivers up to `AT_ONCE` events that are due. Returns whether there may be more."""
        async with self._pass:
            taken = await self._database.write(queue.take, self._clock.now(), most=AT_ONCE)
            await self._deliver_all(taken)
            await self._look()
        return len(taken) == AT_ONCE

    async def _deliver_all(self, taken: Sequence[Event]) -> None:
        """If this replica stops, what is on its way gets a moment. Otherwise another replica would send it again."""
        sending = asyncio.gather(*map(self.deliver, taken))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait([sending], timeout=STOPS_WITHIN)
            sending.cancel()
            raise

    async def deliver(self, event: Event, *, once: bool = False) -> str | None:
        """Sends an event that this process has taken, and notes what came of it. Returns the fault, if any.

        `once`: it is not tried again.
        """
        try:
            await self.send(str(event.id), event.body)
        except Undelivered as error:
            now, fault = self._clock.now(), error.fault
            given_up = await self._database.write(queue.note_failed, now, event, fault, for_good=once)
            self._metrics.webhook_deliveries.labels("given_up" if given_up else "failed").inc()
            name = "webhook_given_up" if given_up else "webhook_waits"
            log.warning(name, message=str(event.id), kind=event.type, attempts=event.attempts, reason=fault)
            return fault
        await self._database.write(queue.note_delivered, self._clock.now(), event)
        self._metrics.webhook_deliveries.labels("delivered").inc()
        return None

    async def send(self, message_id: str, body: bytes, *, by: Sequence[bytes] | None = None) -> int:
        """Sends a message, signed by other keys if `by` has some. Returns a status of 2xx. Raises `Undelivered`."""
        timestamp = int(self._clock.now().timestamp())
        signature = webhooks.signed(self._keys if by is None else by, message_id, timestamp, body)
        headers = {"Content-Type": "application/json", **signature}
        try:
            status, _ = await self._fetcher.request("POST", self._url, body=body, headers=headers)
        except (Unusable, TimeoutError) as error:
            raise Undelivered(str(error) or "timeout") from error
        if not 200 <= status < 300:
            raise Undelivered(f"status {status}", status=status)
        return status

    async def close(self) -> None:
        await self._fetcher.close()

    async def _look(self) -> None:
        backlog = await self._database.read(queue.look)
        age = timedelta(0) if backlog.since is None else self._clock.now() - backlog.since
        self._metrics.webhook_waiting.set(backlog.waiting)
        self._metrics.webhook_age.set(max(age.total_seconds(), 0))
