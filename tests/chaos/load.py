"""Steady load by people who keep what they were told: afterwards the database is held to every answer that they got."""

import asyncio
import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.auth.rotation import SessionTokens
from app.compose import build_runtime
from app.crypto.vault import Vault
from app.platform.clock import SystemClock
from tests.storms.deployment import PUBLIC_URL
from tests.support.accounts import add_signed_in
from tests.support.service import PASSWORD, ROLE_ARN, test_settings

PEOPLE = 24
PAUSE = 0.15
"""Seconds between two requests of one person: 160 a second of all, below every limit."""
DOCUMENTED = {
    *((503, code) for code in ("database_unavailable", "sts_unavailable", "sts_throttled", "not_ready", "overloaded")),
    (503, "keys_unavailable"),
}
"""What the documents say of a part that is away; each with Retry-After."""
BALANCER = "balancer"
"""In place of a code: an answer of haproxy's own."""
BROKEN = (0, "connection")


@dataclass
class Person:
    user_id: str
    access_token: str
    refresh_token: str
    address: str
    """Where the balancer says that they are: limits by client address are for one phone each."""
    name: str | None = None
    """What the last answer said that it is."""
    names_in_doubt: set[str | None] = field(default_factory=set)
    """Sent since, without an answer that says what became of them."""
    credential_ids: set[str] = field(default_factory=set)


@dataclass
class Load:
    port: int
    people: list[Person]
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    """By status and code."""
    registered: set[str] = field(default_factory=set)
    undocumented: list[str] = field(default_factory=list)
    longest_gap: float = 0
    """Seconds without one success of anybody."""
    _last_success: float = field(default_factory=time.monotonic)
    _stopping: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        """Ends it once every answer that is on its way has come."""
        self._stopping = True
        self._thread.join()

    def errors(self) -> Counter[tuple[int, str]]:
        return Counter({answer: count for answer, count in self.answers.items() if answer[0] not in (200, 201)})

    def count(self) -> int:
        return self.answers.total()

    async def _run(self) -> None:
        async with (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=20) as client,
            asyncio.TaskGroup() as group,
        ):
            for person in self.people:
                group.create_task(self._live(client, person))
            group.create_task(self._join(client, self.people[0]))

    async def _live(self, client: httpx2.AsyncClient, person: Person) -> None:
        for number in itertools.count():
            if self._stopping:
                return
            await (self._vend, self._rename, self._refresh)[number % 3](client, person)
            await asyncio.sleep(PAUSE)

    async def _vend(self, client: httpx2.AsyncClient, person: Person) -> None:
        wish = {"path": f"{uuid.uuid4()}/"} if len(person.credential_ids) % 4 == 0 else {}
        answer = await self._ask(client, "POST", "/v1/credentials", person, wish)
        if answer is not None:
            person.credential_ids.add(answer["credential_id"])

    async def _rename(self, client: httpx2.AsyncClient, person: Person) -> None:
        name = f"Ada {uuid.uuid4()}"
        person.names_in_doubt.add(name)
        if await self._ask(client, "PATCH", "/v1/me", person, {"display_name": name}) is not None:
            person.name, person.names_in_doubt = name, set()

    async def _refresh(self, client: httpx2.AsyncClient, person: Person) -> None:
        body = {"refresh_token": person.refresh_token}
        answer = await self._ask(client, "POST", "/v1/auth/refresh", person, body)
        if answer is not None:
            person.access_token, person.refresh_token = answer["access_token"], answer["refresh_token"]

    async def _join(self, client: httpx2.AsyncClient, neighbour: Person) -> None:
        """A new user every two seconds."""
        while not self._stopping:
            email = f"{uuid.uuid4()}@example.org"
            if (
                await self._ask(client, "POST", "/v1/users", neighbour, {"email": email, "password": PASSWORD})
                is not None
            ):
                self.registered.add(email)
            await asyncio.sleep(2.1)

    async def _ask(
        self, client: httpx2.AsyncClient, method: str, path: str, person: Person, body: dict[str, str]
    ) -> dict[str, str] | None:
        """The answer to keep; None where it was refused or is not known."""
        headers = {"Authorization": f"Bearer {person.access_token}", "X-Forwarded-For": person.address}
        try:
            answer = await client.request(method, path, json=body, headers=headers)
        except httpx2.TransportError:
            self.answers[BROKEN] += 1
            return None
        if answer.is_success:
            self.answers[answer.status_code, ""] += 1
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self._last_success)
            self._last_success = now
            kept: dict[str, str] = answer.json()
            return kept
        is_problem = answer.headers.get("content-type") == "application/problem+json"
        code = answer.json()["code"] if is_problem else BALANCER
        self.answers[answer.status_code, code] += 1
        documented = (answer.status_code, code) in DOCUMENTED and "retry-after" in answer.headers
        if not documented and code != BALANCER:
            self.undocumented.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return None


@contextmanager
def steady(port: int, database_url: str) -> Iterator[Load]:
    """For as long as the block."""
    load = Load(port, _sign_in(database_url))
    try:
        yield load
    finally:
        load.stop()


def assert_kept(load: Load, database_url: str) -> None:
    """Whatever was accepted is there."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        names = {str(row[0]): row[1] for row in connection.execute(text("SELECT id, display_name FROM users"))}
        emails = set(connection.scalars(text("SELECT email FROM users")))
        issued = {str(one) for one in connection.scalars(text("SELECT id FROM issued_credentials"))}
    engine.dispose()
    assert load.registered
    assert load.registered <= emails
    for person in load.people:
        assert names[person.user_id] in person.names_in_doubt | {person.name}
        assert person.credential_ids <= issued
        answer = httpx2.post(
            f"http://127.0.0.1:{load.port}/v1/auth/refresh", json={"refresh_token": person.refresh_token}, timeout=20
        )
        assert answer.status_code == 200, answer.text


def _sign_in(database_url: str) -> list[Person]:
    runtime = build_runtime(test_settings(database_url=database_url, public_url=PUBLIC_URL, role_arn=ROLE_ARN))
    try:
        asyncio.run(runtime.keyring.load())
        grants = runtime.platform.database.run("write", _add_people, runtime.platform.vault)
        return [
            Person(
                str(grant.user_id),
                runtime.tokens.mint(
                    user_id=grant.user_id, session_id=grant.session_id, authenticated_at=grant.authenticated_at
                ),
                grant.refresh_token,
                f"198.51.100.{number}",
            )
            for number, grant in enumerate(grants)
        ]
    finally:
        asyncio.run(runtime.close())


def _add_people(session: Session, vault: Vault) -> list[SessionTokens]:
    now = SystemClock().now()
    return [add_signed_in(session, vault, now, f"{uuid.uuid4()}@example.org") for _ in range(PEOPLE)]
