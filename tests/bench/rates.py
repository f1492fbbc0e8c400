"""Requests a second and processor time of a phone's most frequent calls, beside floors, a Node service and a build.

Other work on the machine comes and goes, so each round takes all of them in turn, and ratios are of a round.
"""

import http.client
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, TypeVar

from app.policy import session_policy
from tests.bench import bare, load
from tests.bench.deployment import BUCKET, PASSWORD, ROLE_ARN, Deployment, Server, User, result_of, start
from tests.bench.floor import EMPTY

VEND, CONTAINER, REFRESH = "/v1/credentials", "/v1/credentials/container", "/v1/auth/refresh"
NOTHING = f"POST {EMPTY} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CONNECTIONS = 64
PAUSE = 0.05
"""Seconds between an answer and the next request of a client that is no load, but waits for its answer."""
CHANGING = {"credential_id", "server_time", "expires_in"}
"""What two answers to the same wish differ in."""
_ISSUED = re.compile(r'^tokenvend_vends_total\{source="issued"\} (\S+)$', re.MULTILINE)

Who = Literal["ours", "baseline", "node", "floor", "bare"]
What = Literal["empty", "cached", "container", "waited for", "refresh", "alone", "uncached"]
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


Round = dict[tuple[Who, What], Sample]


@dataclass(frozen=True)
class Memory:
    """Resident MB of one worker."""

    at_start: float
    after: float


@dataclass(frozen=True)
class Rates:
    rounds: list[Round]
    memory: dict[Who, Memory]

    def middle(self, figure: Callable[[Round], float]) -> float:
        return median(figure(one) for one in self.rounds)

    def ratio(self, one: tuple[Who, What], other: tuple[Who, What], of: Callable[[Sample], float]) -> float | None:
        """The median of the rounds' ratios; None where one of them was not taken."""
        if one not in self.rounds[0] or other not in self.rounds[0]:
            return None
        return self.middle(lambda taken: of(taken[one]) / of(taken[other]))

    @property
    def statuses(self) -> dict[str, int]:
        """Of all answers of our service."""
        taken = [sample.statuses for one in self.rounds for (who, _), sample in one.items() if who == "ours"]
        return {status: sum(each.get(status, 0) for each in taken) for each in taken for status in each}


@dataclass
class Party:
    """A server that answers a phone's calls, and the users that it knows."""

    server: Server
    users: list[User]
    chains: list[str] = field(default_factory=list)
    """Refresh tokens of the first users; none where it has no sessions of its own."""

    def __post_init__(self) -> None:
        fields = [(f"Authorization: Bearer {user.access_token}", at(n)) for n, user in enumerate(self.users)]
        self.cached = [post(VEND, "{}", *one) for one in fields]
        self.uncached = [post(VEND, '{"path": "p%07d/"}', *one) for one in fields]
        head = f"GET {CONTAINER} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        self.container = [head + "\r\n".join([*one, "", ""]) for one in fields]

    @property
    def refreshes(self) -> list[str]:
        """From a new address each, as they are limited by address."""
        body = json.dumps({"refresh_token": self.chains[0]})
        return [post(REFRESH, body, at(n)).replace(self.chains[0], load.CHAIN) for n in range(10_000)]


def measure(
    deployment: Deployment,
    floor: Server,
    node: Server | None,
    baseline: Deployment | None,
    *,
    rounds: int,
    seconds: float,
) -> Rates:
    """On services that have just started."""
    parties: dict[Who, Party] = {"ours": Party(deployment.service, deployment.users)}
    if baseline is not None:
        parties["baseline"] = Party(baseline.service, baseline.users)
    at_start = {who: party.server.memory() for who, party in parties.items()}
    for party in parties.values():
        party.chains = [sign_in(party.server, user, n) for n, user in enumerate(party.users[:CONNECTIONS])]
    if node is not None:
        parties["node"] = Party(node, deployment.users)
    return _Measurement(deployment, floor, parties, seconds).take(rounds, at_start)


def ceiling(deployment: Deployment, seconds: float) -> float:
    """Requests a second of the load generator itself, against the stub, whose answer is as long as a vend's."""
    job = load.Job(deployment.sts_port, [NOTHING], seconds=seconds)
    return load.Result(**result_of(start("tests.bench.load", job))).rate


def at(number: int) -> str:
    """The header of a phone with an address of its own."""
    return f"X-Forwarded-For: 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def vend(access_token: str, body: str) -> str:
    """A whole request; `%07d` in its body stands for seven digits."""
    return post(VEND, body, f"Authorization: Bearer {access_token}")


def post(path: str, body: str, *fields: str) -> str:
    length = len(body.replace("%07d", "0000000"))
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", body])


def sign_in(server: Server, user: User, number: int) -> str:
    """A refresh token of a new session of the user."""
    body = json.dumps({"email": user.email, "password": PASSWORD})
    name, _, value = at(number).partition(": ")
    status, text = _ask(server, "POST", "/v1/auth/login", {name: value, "Content-Type": "application/json"}, body)
    if status != 200:
        raise RuntimeError(f"a sign-in was answered with {status}: {text[:300]}")
    return str(json.loads(text)["tokens"]["refresh_token"])


class _Measurement:
    def __init__(self, deployment: Deployment, floor: Server, parties: dict[Who, Party], seconds: float) -> None:
        self._deployment = deployment
        self._floor = floor
        self._parties = parties
        self._seconds = seconds
        self._sent = 0

    def take(self, rounds: int, at_start: dict[Who, float]) -> Rates:
        for party in self._parties.values():  # fills the caches
            self._window(party.server, party.cached, seconds=60, most=len(party.cached))
        if "node" in self._parties:
            self._check_same_answer(self._parties["node"].server)
        dict(self._hits())  # every kind once for nothing: V8 compiles what it has seen often
        issued = self._issued()
        hits = [dict(self._hits()) for _ in range(rounds)]
        if self._issued() != issued:
            raise RuntimeError("vends that were to be cached ones were not")
        dict(self._misses())
        taken = [{**hit, **dict(self._misses())} for hit in hits]
        memory = {who: Memory(before, self._parties[who].server.memory()) for who, before in at_start.items()}
        return Rates(taken, memory)

    def _hits(self) -> Iterator[tuple[tuple[Who, What], Sample]]:
        yield ("floor", "empty"), self._window(self._floor, [NOTHING])
        yield ("floor", "waited for"), self._window(self._floor, [NOTHING], pause=PAUSE)
        for who, party in self._parties.items():
            yield (who, "cached"), self._window(party.server, party.cached)
            if who != "node":
                yield (who, "container"), self._window(party.server, party.container)
                yield (who, "waited for"), self._window(party.server, party.container, pause=PAUSE)
                yield (who, "refresh"), self._window(party.server, party.refreshes, party=party)
                yield (
                    (who, "alone"),
                    self._window(party.server, party.cached, connections=1, seconds=self._seconds / 2),
                )

    def _misses(self) -> Iterator[tuple[tuple[Who, What], Sample]]:
        taken = self._bare()
        yield ("bare", "uncached"), Sample(taken.rate, taken.cpu, 0, 0, {})
        for who, party in self._parties.items():
            yield (who, "uncached"), self._window(party.server, party.uncached)

    def _window(
        self,
        server: Server,
        requests: list[str],
        *,
        seconds: float | None = None,
        connections: int = CONNECTIONS,
        most: int | None = None,
        party: Party | None = None,
        pause: float = 0.0,
    ) -> Sample:
        """On an idle server, going on with the users where the last window ended. With a `party`, it refreshes."""
        server.drain()
        cpu = server.cpu()
        chains = party.chains if party else []
        if chains:
            connections = len(chains)
        job = load.Job(server.port, requests, connections, seconds or self._seconds, most, self._sent, chains, pause)
        result = load.Result(**result_of(start("tests.bench.load", job)))
        if party:
            party.chains = result.chains
        self._sent += result.requests
        cpu = (server.cpu() - cpu) / result.requests
        return Sample(result.rate, cpu, result.p50, result.p99, result.statuses)

    def _bare(self) -> bare.Result:
        """With the parameters that the service sends for an uncached vend, on its core."""
        self._deployment.service.drain()
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
        _, text = _ask(self._deployment.service, "GET", "/metrics")
        found = _ISSUED.search(text)
        if found is None:
            raise RuntimeError("/metrics does not tell how many credentials were issued")
        return float(found[1])

    def _check_same_answer(self, node: Server) -> None:
        ours, theirs = (self._answer(server) for server in (self._deployment.service, node))
        if ours != theirs:
            raise RuntimeError(f"the Node service does not answer as ours does: {theirs} and {ours}")

    def _answer(self, server: Server) -> dict[str, Any]:
        token = self._deployment.users[0].access_token
        status, text = _ask(server, "POST", VEND, {"Authorization": f"Bearer {token}"})
        if status != 200:
            raise RuntimeError(f"a vend was answered with {status}: {text[:300]}")
        return {name: None if name in CHANGING else value for name, value in json.loads(text).items()}


def _ask(
    server: Server, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
