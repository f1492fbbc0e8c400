"""`python -m tests.storms.attacks [--quick]`: what an attacker does to others, beside an idle service, as one table.

The service is as `tokenvend serve` runs it, with one worker over PostgreSQL and all limits on. Meanwhile other users
sign in, each from an address of their own, and get their first credential. Some ask for theirs again and again.
"""

import argparse
import asyncio
import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.deployment import PASSWORD, User, result_of, sign_up, start
from tests.bench.deployment import environment as bench_environment
from tests.bench.deployment import serving as serving_command
from tests.bench.rates import post, vend
from tests.storms.clients import Client
from tests.storms.deployment import environment, serving
from tests.storms.strangers import ATTACKS, Job, Result
from tests.support.canned_iam import CannedIam
from tests.support.databases import PostgresDatabases

EVERY = 0.15
"""Seconds from one sign-in to the next, whether the one before was answered or not."""
WATCHERS = 5
"""Users whose credential is looked at."""
LOOKS_EVERY = 1.5
"""Seconds; a user may ask 60 times a minute."""
CONNECTIONS = 32
STS = {"STS_DELAY": "0.05", "STS_PER_SECOND": "600"}
"""The quota of an account of AWS in a Region, at a usual pace."""


@dataclass(frozen=True)
class Scale:
    idle: float
    """Seconds of the service without an attack, before each attack."""
    attack: float
    addresses: tuple[int, ...]


FULL = Scale(idle=10, attack=30, addresses=(1, 100))
QUICK = Scale(idle=1, attack=5, addresses=(100,))


@dataclass
class Seen:
    """What happened to other users in a stretch of time."""

    sign_ins: list[float] = field(default_factory=list)
    """Milliseconds from when each was due to its answer."""
    refused: int = 0
    """Sign-ins and vends of theirs that got no 200."""
    credentials: dict[int, set[str]] = field(default_factory=dict)
    """The ids that each watcher was given."""

    def within(self, percent: int) -> float:
        times = sorted(self.sign_ins)
        return times[min(len(times) * percent // 100, len(times) - 1)]

    @property
    def most_credentials(self) -> int:
        return max(len(ids) for ids in self.credentials.values())


@dataclass(frozen=True)
class Attack:
    name: str
    addresses: int
    idle: Seen
    seen: Seen
    answers: dict[str, int]
    issued: int
    """Credentials that STS gave meanwhile."""
    floors: int
    """Times that everybody's credentials were revoked."""


def measure(
    scale: Scale, directory: Path, databases: PostgresDatabases, names: Sequence[str] = tuple(ATTACKS)
) -> Iterator[Attack]:
    """Each attack, on a service and a database of its own."""
    for name in names:
        for addresses in scale.addresses:
            yield _measure(name, addresses, scale, directory, databases)


def _measure(name: str, addresses: int, scale: Scale, directory: Path, databases: PostgresDatabases) -> Attack:
    url = databases.create()
    with ExitStack() as stack:
        stack.callback(databases.drop, url)
        users = sign_up(url, 200)
        port = stack.enter_context(_served(directory, url))
        attacker, *others = users
        idle = uvloop.run(_live(port, others, scale.idle))
        before = _counters(port)
        job = Job(name, port, addresses, CONNECTIONS, scale.attack, attacker.access_token, PASSWORD)
        process = start("tests.storms.strangers", job)
        seen = uvloop.run(_live(port, others, scale.attack))
        answers = Result(**result_of(process)).answers
        issued, floors = (after - count for after, count in zip(_counters(port), before, strict=True))
    for watcher, ids in idle.credentials.items():
        seen.credentials[watcher] |= ids  # the one from before the attack is to live on
    return Attack(name, addresses, idle, seen, answers, issued, floors)


@contextmanager
def _served(directory: Path, database_url: str) -> Iterator[int]:
    iam = CannedIam()
    with ExitStack() as stack:
        stack.callback(iam.close)
        stub = [sys.executable, "-m", "tests.bench.sts"]
        sts = stack.enter_context(serving_command(stub, "sts", directory, bench_environment(**STS), None))
        more = {
            "TOKENVEND_RATE_LIMITS": "on",
            "TOKENVEND_TRUSTED_PROXIES": "127.0.0.1",
            "TOKENVEND_REVOCATION": "role_policy",
            "TOKENVEND_IAM_ENDPOINT_URL": iam.url,
        }
        env = environment(database_url, f"http://127.0.0.1:{sts.port}") | more
        (port,) = stack.enter_context(serving(directory, env, 1))
        yield port


async def _live(port: int, users: Sequence[User], seconds: float) -> Seen:
    """What other users do for so long."""
    seen = Seen()
    watchers = [
        asyncio.create_task(_watch(port, user, seconds, seen, number)) for number, user in enumerate(users[:WATCHERS])
    ]
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    sign_ins = []
    for number in range(int(seconds / EVERY)):
        due_at = began_at + number * EVERY
        await asyncio.sleep(due_at - loop.time())
        user = users[WATCHERS + number % (len(users) - WATCHERS)]
        sign_ins.append(asyncio.create_task(_sign_in(port, user, number, due_at, seen)))
    await asyncio.gather(*watchers, *sign_ins)
    return seen


async def _sign_in(port: int, user: User, number: int, due_at: float, seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(Client, "127.0.0.1", port)
    address = f"X-Forwarded-For: 10.1.{number // 256}.{number % 256}"
    body = json.dumps({"email": user.email, "password": PASSWORD})
    answer = await client.ask(post("/v1/auth/login", body, address).encode())
    seen.sign_ins.append((loop.time() - due_at) * 1000)
    if answer.status == 200:
        bearer = f"Authorization: Bearer {answer.json()['tokens']['access_token']}"
        answer = await client.ask(post("/v1/credentials", "{}", address, bearer).encode())
    seen.refused += answer.status != 200
    client.close()


async def _watch(port: int, user: User, seconds: float, seen: Seen, number: int) -> None:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(Client, "127.0.0.1", port)
    ids = seen.credentials.setdefault(number, set())
    request = vend(user.access_token, "{}").replace("Host:", f"X-Forwarded-For: 10.2.0.{number}\r\nHost:", 1).encode()
    for _ in range(max(1, int(seconds / LOOKS_EVERY))):
        answer = await client.ask(request)
        if answer.status == 200:
            ids.add(answer.json()["credential_id"])
        else:
            seen.refused += 1
        await asyncio.sleep(LOOKS_EVERY)
    client.close()


def _counters(port: int) -> tuple[int, int]:
    """Credentials issued, and floors raised, so far."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    issued, floors = (
        sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))
        for name in (r'tokenvend_vends_total{source="issued"}', "tokenvend_revocation_floors_total")
    )
    return int(issued), int(floors)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.storms.attacks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that it works")
    parser.add_argument("--from", dest="addresses", type=int, help="client addresses; 1 and 100 without it")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    if arguments.addresses:
        scale = Scale(scale.idle, scale.attack, (arguments.addresses,))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an ordinary end, which stops what was started
    directory = Path(tempfile.mkdtemp(prefix="tv-storm-"))
    databases = PostgresDatabases(directory / "pg")
    taken = []
    try:
        for attack in measure(scale, directory, databases):
            met = json.dumps(attack.answers)
            print(f"{attack.name}, {attack.addresses} addresses: {met}", file=sys.stderr, flush=True)
            taken.append(attack)
    finally:
        databases.close()
        shutil.rmtree(directory, ignore_errors=True)
    Console(width=120).print(_table(taken, scale))


def _table(taken: Sequence[Attack], scale: Scale) -> Table:
    caption = (
        f"{scale.idle:.0f} s idle, then {scale.attack:.0f} s of the attack by {CONNECTIONS} connections. "
        "Aims: p95 ÷ idle ≤ 3, one credential for each of the others, none of them refused, no floor."
    )
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("attack", no_wrap=True)
    for column in ("addresses", "sign-in idle, p50 / p95 ms", "under attack", "p95 ÷ idle"):
        table.add_column(column, justify="right")
    for column in ("others' credentials", "others refused", "issued", "floors"):
        table.add_column(column, justify="right")
    for one in taken:
        table.add_row(
            one.name,
            f"{one.addresses}",
            f"{one.idle.within(50):.0f} / {one.idle.within(95):.0f}",
            f"{one.seen.within(50):.0f} / {one.seen.within(95):.0f}",
            f"{one.seen.within(95) / one.idle.within(95):.1f}",
            f"{one.seen.most_credentials}",
            f"{one.seen.refused}",
            f"{one.issued:,}",
            f"{one.floors}",
        )
    return table


if __name__ == "__main__":
    main()
