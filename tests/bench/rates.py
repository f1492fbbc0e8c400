"""Requests a second and processor time of a vend, in rounds with its floors and with a Node service that does the same.

Other work on the machine comes and goes, so each round takes all of them in turn, and ratios are of a round.
"""

import http.client
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

from app.policy import session_policy
from tests.bench import bare, load
from tests.bench.deployment import BUCKET, ROLE_ARN, Deployment, Server, result_of, start
from tests.bench.served import EMPTY, PLAIN, VEND

NOTHING = f"POST {EMPTY} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CHANGING = {"credential_id", "server_time", "expires_in"}
"""What two answers to the same wish differ in."""
_ISSUED = re.compile(r'^tokenvend_vends_total\{source="issued"\} (\S+)$', re.MULTILINE)

R = TypeVar("R")


@dataclass(frozen=True)
class Sample:
    rate: float
    cpu: float
    """Seconds of the server's processor time for each request."""
    p50: float
    p99: float
    """Milliseconds."""
    statuses: dict[str, int]


@dataclass(frozen=True)
class Hits:
    """One round of cached vends."""

    empty: Sample
    cached: Sample
    node_empty: Sample | None
    node_cached: Sample | None


@dataclass(frozen=True)
class Misses:
    """One round of uncached vends."""

    bare: bare.Result
    uncached: Sample
    node_uncached: Sample | None


@dataclass(frozen=True)
class Alone:
    """One round of cached vends by a single caller."""

    batched: Sample
    plain: Sample


@dataclass(frozen=True)
class Rates:
    hits: list[Hits]
    misses: list[Misses]
    alone: list[Alone]
    statuses: dict[str, int]
    """Of all vends of our service, in all rounds."""
    memory_at_start: float
    memory_after: float
    """Resident MB."""


def middle(rounds: Sequence[R], figure: Callable[[R], float]) -> float:
    return median(figure(one) for one in rounds)


def measure(deployment: Deployment, node: Server | None, *, rounds: int, seconds: float) -> Rates:
    """On a service that has just started."""
    return _Measurement(deployment, node, seconds).take(rounds)


def ceiling(deployment: Deployment, seconds: float) -> float:
    """Requests a second of the load generator itself, against the stub, whose answer is as long as a vend's."""
    job = load.Job(deployment.sts_port, [NOTHING], seconds=seconds)
    return load.Result(**result_of(start("tests.bench.load", job))).rate


def vend(access_token: str, body: str, path: str = VEND) -> str:
    """A whole request; `%07d` in its body stands for seven digits."""
    return post(path, body, f"Authorization: Bearer {access_token}")


def post(path: str, body: str, *fields: str) -> str:
    length = len(body.replace("%07d", "0000000"))
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", body])


class _Measurement:
    def __init__(self, deployment: Deployment, node: Server | None, seconds: float) -> None:
        self._deployment = deployment
        self._service = deployment.service
        self._node = node
        self._seconds = seconds
        self._sent = 0
        tokens = [user.access_token for user in deployment.users]
        self._cached = [vend(token, "{}") for token in tokens]
        self._plain = [vend(token, "{}", PLAIN) for token in tokens]
        self._uncached = [vend(token, '{"path": "p%07d/"}') for token in tokens]

    def take(self, rounds: int) -> Rates:
        memory_at_start = self._service.memory()
        for server in filter(None, (self._service, self._node)):  # fills the caches
            self._window(server, self._cached, seconds=60, most=len(self._cached))
        if self._node is not None:
            self._check_same_answer(self._node)
        self._hits()  # every kind once for nothing: V8 compiles what it has seen often
        issued = self._issued()
        hits = [self._hits() for _ in range(rounds)]
        alone = [self._alone() for _ in range(rounds)]
        if self._issued() != issued:
            raise RuntimeError("vends that were to be cached ones were not")
        self._misses()
        misses = [self._misses() for _ in range(rounds)]
        memory_after = self._service.memory()
        samples = [
            *(one.cached for one in hits),
            *(one.uncached for one in misses),
            *(sample for one in alone for sample in (one.batched, one.plain)),
        ]
        statuses = {status for sample in samples for status in sample.statuses}
        return Rates(
            hits,
            misses,
            alone,
            {status: sum(sample.statuses.get(status, 0) for sample in samples) for status in statuses},
            memory_at_start,
            memory_after,
        )

    def _hits(self) -> Hits:
        return Hits(
            self._window(self._service, [NOTHING]),
            self._window(self._service, self._cached),
            self._window(self._node, [NOTHING]) if self._node else None,
            self._window(self._node, self._cached) if self._node else None,
        )

    def _misses(self) -> Misses:
        return Misses(
            self._bare(),
            self._window(self._service, self._uncached),
            self._window(self._node, self._uncached) if self._node else None,
        )

    def _alone(self) -> Alone:
        return Alone(
            self._window(self._service, self._cached, connections=1, seconds=self._seconds / 2),
            self._window(self._service, self._plain, connections=1, seconds=self._seconds / 2),
        )

    def _window(
        self,
        server: Server,
        requests: list[str],
        *,
        seconds: float | None = None,
        connections: int = 64,
        most: int | None = None,
    ) -> Sample:
        """On an idle server, going on with the users where the last window ended."""
        server.drain()
        cpu = server.cpu()
        job = load.Job(server.port, requests, connections, seconds or self._seconds, most, self._sent)
        result = load.Result(**result_of(start("tests.bench.load", job)))
        self._sent += result.requests
        cpu = (server.cpu() - cpu) / result.requests
        return Sample(result.rate, cpu, result.p50, result.p99, result.statuses)

    def _bare(self) -> bare.Result:
        """With the parameters that the service sends for an uncached vend, on its core."""
        self._service.drain()
        user_id = uuid.uuid4()
        prefix = session_policy.narrowed_prefix(user_id, "p0000000/")
        job = bare.Job(
            f"http://127.0.0.1:{self._deployment.sts_port}",
            self._seconds,
            {
                "RoleArn": ROLE_ARN,
                "RoleSessionName": f"{user_id}.{'A' * 22}",
                "SourceIdentity": str(user_id),
                "Policy": session_policy.Bucket("aws", BUCKET).policy(prefix, "read_write"),
                "DurationSeconds": 3600,
            },
        )
        return bare.Result(**result_of(start("tests.bench.bare", job, self._deployment.core)))

    def _issued(self) -> float:
        """How many credentials the service has got from STS, by its own metrics."""
        _, text = self._ask(self._service, "GET", "/metrics")
        found = _ISSUED.search(text)
        if found is None:
            raise RuntimeError("/metrics does not tell how many credentials were issued")
        return float(found[1])

    def _check_same_answer(self, node: Server) -> None:
        ours, theirs = (self._answer(server) for server in (self._service, node))
        if ours != theirs:
            raise RuntimeError(f"the Node service does not answer as ours does: {theirs} and {ours}")

    def _answer(self, server: Server) -> dict[str, Any]:
        status, text = self._ask(server, "POST", VEND, self._deployment.users[0].access_token)
        if status != 200:
            raise RuntimeError(f"a vend was answered with {status}: {text[:300]}")
        return {name: None if name in CHANGING else value for name, value in json.loads(text).items()}

    @staticmethod
    def _ask(server: Server, method: str, path: str, access_token: str = "") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            connection.request(
                method, path, headers={"Authorization": f"Bearer {access_token}"} if access_token else {}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()
