"""A process that is an attacker: many connections from one client address or a hundred, for a bounded time.

The job comes as JSON on standard input, the result goes as JSON to standard output.
"""

import asyncio
import itertools
import json
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from tests.bench.rates import post
from tests.storms.clients import Answer, Client

PAUSE = 0.05
"""Seconds that a refused caller waits. The attack is on the service, not on the machine that it shares with it."""
PATHS = 60
"""Different paths for which one guest asks credentials: as many as one user may have in a minute."""


@dataclass(frozen=True)
class Job:
    attack: str
    """A name in `ATTACKS`."""
    port: int
    addresses: int
    connections: int
    seconds: float
    access_token: str
    """The attacker's own account, by which passwords are changed."""
    password: str
    """Of that account, and of every account that the attacker makes."""


@dataclass(frozen=True)
class Result:
    answers: dict[str, int]
    """How many answers there were by call and status: `/v1/users 201`."""


class Attacker:
    """One connection of many, which takes a new address for each of its rounds."""

    def __init__(self, job: Job, client: Client, addresses: Iterator[int], answers: Counter[str]) -> None:
        self.job = job
        self._client = client
        self._addresses = addresses
        self._answers = answers

    async def ask(self, path: str, body: dict[str, Any], *fields: str, method: str = "POST") -> Answer:
        request = post(path, json.dumps(body), f"X-Forwarded-For: {self._address}", *fields)
        answer = await self._client.ask(request.replace("POST", method, 1).encode())
        self._answers[f"{path} {answer.status}"] += 1
        if answer.status >= 400:
            await asyncio.sleep(PAUSE)
        return answer

    async def round(self) -> None:
        number = next(self._addresses)
        self._address = f"10.9.{number // 256}.{number % 256}"
        await ATTACKS[self.job.attack](self)


async def judge_passwords(attacker: Attacker) -> None:
    """Registers, and changes the password of the attacker's own account, which both judge and hash a password."""
    job = attacker.job
    await attacker.ask("/v1/users", {"email": f"{uuid.uuid4()}@example.org", "password": job.password})
    body = {"current_password": job.password, "new_password": job.password}
    await attacker.ask("/v1/me/password", body, f"Authorization: Bearer {job.access_token}", method="PUT")


async def revoke(attacker: Attacker) -> None:
    """Becomes a guest who has a credential, and revokes it."""
    if bearer := await _guest(attacker):
        await attacker.ask("/v1/credentials", {}, bearer)
        await attacker.ask("/v1/credentials/revoke", {}, bearer)


async def revoke_nothing(attacker: Attacker) -> None:
    """Becomes a guest who has no credential, and revokes what there is."""
    if bearer := await _guest(attacker):
        await attacker.ask("/v1/credentials/revoke", {}, bearer)


async def use_up_sts(attacker: Attacker) -> None:
    """Becomes a guest who wants a credential for one path after the other."""
    if bearer := await _guest(attacker):
        for number in range(PATHS):
            await attacker.ask("/v1/credentials", {"path": f"p{number}/"}, bearer)


async def _guest(attacker: Attacker) -> str | None:
    """The header that says who asks."""
    answer = await attacker.ask("/v1/auth/guest", {})
    return f"Authorization: Bearer {answer.json()['tokens']['access_token']}" if answer.status in (200, 201) else None


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "judge passwords": judge_passwords,
    "revoke nothing": revoke_nothing,
    "revoke credentials": revoke,
    "use up STS": use_up_sts,
}


async def run(job: Job) -> Result:
    loop = asyncio.get_running_loop()
    answers: Counter[str] = Counter()
    addresses = itertools.cycle(range(job.addresses))
    ends_at = loop.time() + job.seconds

    async def attack() -> None:
        _, client = await loop.create_connection(Client, "127.0.0.1", job.port)
        attacker = Attacker(job, client, addresses, answers)
        try:
            async with asyncio.timeout_at(ends_at):
                while True:
                    await attacker.round()
        except (TimeoutError, ConnectionResetError):
            pass  # its time is over, or the service has put an end to it
        finally:
            client.close()

    await asyncio.gather(*(attack() for _ in range(job.connections)))
    return Result(dict(sorted(answers.items())))


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Job(**json.load(sys.stdin)))))))
