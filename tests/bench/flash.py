"""A process that is a crowd of phones: each arrives at its own moment, asks once, and asks again when it is told to.

Arrivals do not wait for answers. The job comes as JSON on standard input, the result goes as JSON to standard output.
"""

import asyncio
import json
import random
import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass

import uvloop

from tests.bench.wire import Wire

_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)(?:\r|$)", re.IGNORECASE)
TOLD_TO_WAIT = ("429", "503")


@dataclass
class Job:
    port: int
    requests: list[str]
    """One for each phone."""
    arrive_within: float
    give_up_after: float
    """Seconds."""


@dataclass
class Result:
    served: int
    statuses: dict[str, int]
    """Of all answers."""
    odd: dict[str, int]
    """Answers that are neither a credential nor an order to wait, and connections that broke."""
    last: float
    """Seconds from the first arrival to the last credential."""
    p50: float
    p99: float
    """Milliseconds from a phone's arrival to its credential, waits included."""


class Crowd:
    """What has happened so far."""

    def __init__(self, job: Job) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = len(job.requests)
        self.began_at = self._loop.time()
        self.done = asyncio.Event()
        self.statuses: Counter[str] = Counter()
        self.odd: Counter[str] = Counter()
        self.times: list[float] = []
        self.last = 0.0

    def served(self, arrived_at: float) -> None:
        now = self._loop.time()
        self.times.append(now - arrived_at)
        self.last = now - self.began_at
        self._left_one()

    def failed(self, why: str) -> None:
        self.odd[why] += 1
        self._left_one()

    def _left_one(self) -> None:
        self._left -= 1
        if not self._left:
            self.done.set()


class Phone(Wire):
    def __init__(self, crowd: Crowd, request: bytes, arrived_at: float) -> None:
        super().__init__()
        self._crowd = crowd
        self._request = request
        self._arrived_at = arrived_at
        self._waits = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._ask()

    def _ask(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._request)

    def message(self, head: bytes, _body: bytes) -> None:
        status = head[9:12].decode()
        self._crowd.statuses[status] += 1
        wait = _RETRY_AFTER.search(head)
        if status in TOLD_TO_WAIT and wait is not None:
            asyncio.get_running_loop().call_later(int(wait[1]), self._ask)
            return
        self._waits = False
        self.transport.close()
        if status == "200":
            self._crowd.served(self._arrived_at)
        else:
            self._crowd.failed(status)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._waits:
            self._waits = False
            self._crowd.failed("connection lost")


async def _arrive(crowd: Crowd, job: Job, request: str, at: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at - loop.time())
    try:
        await loop.create_connection(lambda: Phone(crowd, request.encode(), at), "127.0.0.1", job.port)
    except OSError:
        crowd.failed("not connected")


async def run(job: Job) -> Result:
    crowd = Crowd(job)
    moments = random.Random(1)  # the same crowd in every run
    async with asyncio.TaskGroup() as arrivals:
        for request in job.requests:
            at = crowd.began_at + moments.uniform(0, job.arrive_within)
            arrivals.create_task(_arrive(crowd, job, request, at))
    try:
        async with asyncio.timeout_at(crowd.began_at + job.give_up_after):
            await crowd.done.wait()
    except TimeoutError:
        pass  # the result tells how many were not served
    times = sorted(crowd.times) or [float("nan")]
    return Result(
        served=len(crowd.times),
        statuses=dict(crowd.statuses),
        odd=dict(crowd.odd),
        last=crowd.last,
        p50=times[len(times) // 2] * 1000,
        p99=times[len(times) * 99 // 100] * 1000,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Job(**json.load(sys.stdin)))))))
