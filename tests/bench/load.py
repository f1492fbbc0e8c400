"""A process that sends requests over kept-alive connections, and times the answers.

The next one is sent as soon as the answer is there, or after a pause.

The job comes as JSON on standard input, the result goes as JSON to standard output.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

import uvloop

from tests.bench.wire import Wire

CHAIN = "{refresh token}"
LAST_ANSWERS_WITHIN = 30
"""Seconds after the last request was sent."""


@dataclass
class Job:
    port: int
    requests: list[str]
    """Whole requests, sent in turn from the `first_number`th. `%07d` in them becomes a number never sent before."""
    connections: int = 64
    seconds: float = 10.0
    most: int | None = None
    """Ends earlier, after so many requests."""
    first_number: int = 0
    chains: list[str] = field(default_factory=list)
    """Refresh tokens, one for each connection. `CHAIN` in a request becomes the connection's, and each answer's
    `refresh_token` takes its place."""
    pause: float = 0.0
    """Seconds between an answer and the connection's next request."""


@dataclass
class Result:
    requests: int
    seconds: float
    statuses: dict[str, int]
    p50: float
    p99: float
    longest: float
    """Milliseconds, as are the percentiles."""
    chains: list[str]
    """The refresh tokens to go on with."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def refused(self) -> int:
        return self.requests - self.statuses.get("200", 0)


class Load:
    """What the connections share: the requests to send and the answers that came."""

    def __init__(self, job: Job) -> None:
        requests = [request.encode() for request in job.requests]
        first = job.first_number % len(requests)  # else each window would begin with the same users
        self._requests = itertools.cycle(requests[first:] + requests[:first])
        self._numbers = itertools.count(job.first_number)
        self._numbered = "%07d" in job.requests[0]
        self._left = sys.maxsize if job.most is None else job.most
        self._ends_at = time.perf_counter() + job.seconds
        self.pause = job.pause
        self._under_way = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.statuses: Counter[str] = Counter()
        self.times: list[float] = []

    def next_request(self) -> bytes | None:
        if not self._left or time.perf_counter() >= self._ends_at:
            if not self._under_way and not self.done.done():
                self.done.set_result(None)
            return None
        self._left -= 1
        self._under_way += 1
        request = next(self._requests)
        return request % next(self._numbers) if self._numbered else request

    def answered(self, status: str, seconds: float) -> None:
        self._under_way -= 1
        self.statuses[status] += 1
        self.times.append(seconds)

    def broken(self) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("the service closed a connection under load"))


class Connection(Wire):
    load: Load

    def __init__(self) -> None:
        super().__init__()
        self._sent_at = 0.0
        self.token = ""

    def send(self) -> None:
        request = self.load.next_request()
        if request is not None:
            if self.token:
                request = request.replace(CHAIN.encode(), self.token.encode())
            self._sent_at = time.perf_counter()
            self.transport.write(request)

    def message(self, head: bytes, body: bytes) -> None:
        self.load.answered(head[9:12].decode(), time.perf_counter() - self._sent_at)
        if self.token:
            self.token = json.loads(body)["refresh_token"]  # of a refusal there is none: the measurement ends
        if self.load.pause:
            asyncio.get_running_loop().call_later(self.load.pause, self.send)
        else:
            self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        self.load.broken()


async def run(job: Job) -> Result:
    loop = asyncio.get_running_loop()
    connections = [(await loop.create_connection(Connection, "127.0.0.1", job.port))[1] for _ in range(job.connections)]
    started_at = time.perf_counter()
    load = Load(job)
    for number, connection in enumerate(connections):
        connection.load = load
        connection.token = job.chains[number] if job.chains else ""
    for number, connection in enumerate(connections):  # with pauses, not all at the same moment
        loop.call_later(job.pause * number / len(connections), connection.send)
    await asyncio.wait_for(load.done, job.seconds + LAST_ANSWERS_WITHIN)
    seconds = time.perf_counter() - started_at
    times = sorted(load.times)
    return Result(
        requests=len(times),
        seconds=seconds,
        statuses=dict(load.statuses),
        p50=times[len(times) // 2] * 1000,
        p99=times[len(times) * 99 // 100] * 1000,
        longest=times[-1] * 1000,
        chains=[connection.token for connection in connections],
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Job(**json.load(sys.stdin)))))))
