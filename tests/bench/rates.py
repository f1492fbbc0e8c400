"""Requests a second and processor time of a vend, in rounds with its floors: an empty endpoint, a bare boto3 call.

Other work on the machine comes and goes, so each round takes all four one after the other, and ratios are of a round.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from app.credentials import policy
from tests.bench import bare, load
from tests.bench.deployment import BUCKET, ROLE_ARN, Deployment, result_of, start

ALONE = "POST /v1/empty HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass(frozen=True)
class Sample:
    rate: float
    cpu: float
    """Seconds of the service's processor time for each request."""
    refused: int
    """Answers other than 200."""


@dataclass(frozen=True)
class Round:
    empty: Sample
    cached: Sample
    bare: bare.Result
    uncached: Sample


@dataclass(frozen=True)
class Rates:
    rounds: list[Round]
    alone: load.Result
    """A cached vend by a single caller."""
    memory_at_start: float
    memory_after: float
    """Resident MB."""

    def median(self, figure: Callable[[Round], float]) -> float:
        return median(figure(one) for one in self.rounds)


def measure(deployment: Deployment, *, rounds: int, seconds: float) -> Rates:
    """On a service that has just started."""
    memory_at_start = deployment.memory()
    cached = [vend(user.access_token, "{}") for user in deployment.users]
    uncached = [vend(user.access_token, '{"path": "p%07d/"}') for user in deployment.users]
    _load(deployment, cached, seconds=30, most=len(cached))  # fills the cache
    taken, number = [], 0
    for _ in range(rounds):
        empty = _sample(deployment, [ALONE], seconds)[0]
        hits = _sample(deployment, cached, seconds)[0]
        floor = _bare(deployment, seconds)
        misses, vended = _sample(deployment, uncached, seconds, number)
        taken.append(Round(empty, hits, floor, misses))
        number += vended
    alone = _load(deployment, cached, connections=1, seconds=seconds)
    return Rates(taken, alone, memory_at_start, deployment.memory())


def ceiling(deployment: Deployment, seconds: float) -> float:
    """Requests a second of the load generator itself, against the stub, whose answer is as long as a vend's."""
    return _load(deployment, [ALONE], port=deployment.sts_port, seconds=seconds).rate


def vend(access_token: str, body: str) -> str:
    """A whole request; `%07d` in its body stands for seven digits."""
    return post("/v1/credentials", body, f"Authorization: Bearer {access_token}")


def post(path: str, body: str, *fields: str) -> str:
    length = len(body.replace("%07d", "0000000"))
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", body])


def _sample(deployment: Deployment, requests: list[str], seconds: float, number: int = 0) -> tuple[Sample, int]:
    cpu = deployment.cpu()
    result = _load(deployment, requests, seconds=seconds, first_number=number)
    return Sample(result.rate, (deployment.cpu() - cpu) / result.requests, result.refused), result.requests


def _load(
    deployment: Deployment,
    requests: list[str],
    *,
    seconds: float,
    connections: int = 64,
    most: int | None = None,
    first_number: int = 0,
    port: int | None = None,
) -> load.Result:
    job = load.Job(port or deployment.port, requests, connections, seconds, most, first_number)
    return load.Result(**result_of(start("tests.bench.load", job)))


def _bare(deployment: Deployment, seconds: float) -> bare.Result:
    """With the parameters that the service sends for an uncached vend."""
    user_id = uuid.uuid4()
    prefix = policy.narrowed_prefix(user_id, "p0000000/")
    job = bare.Job(
        f"http://127.0.0.1:{deployment.sts_port}",
        seconds,
        {
            "RoleArn": ROLE_ARN,
            "RoleSessionName": f"{user_id}.{'A' * 22}",
            "SourceIdentity": str(user_id),
            "Policy": policy.build(partition="aws", bucket=BUCKET, prefix=prefix, access="read_write"),
            "DurationSeconds": 3600,
        },
    )
    return bare.Result(**result_of(start("tests.bench.bare", job)))
