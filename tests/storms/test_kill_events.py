"""kill -9 a hundred times under load: no event is lost, and one that comes twice has the same id."""

import asyncio
import json
import os
import random
import signal
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from sqlalchemy import create_engine, text

from tests.storms.clients import Client, connect
from tests.storms.conftest import rows
from tests.storms.deployment import Device, environment, sign_in
from tests.storms.test_kill import LATER, Forks
from tests.support.canned_sts import CannedSts
from tests.support.databases import PostgresDatabases
from tests.support.engine import eventually
from tests.support.receiver import SECRET, Receiver, receiving

ROUNDS, FEW_ROUNDS = 100, 8
DEVICES = 8
CLIENTS = 16
MOST_ANSWERS = 40


def revoke(device: Device) -> bytes:
    """The whole request: an act whose transaction writes an event, and which may be repeated."""
    head = (
        "POST /v1/credentials/revoke HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {device.access_token}\r\nContent-Length: 0\r\n\r\n"
    )
    return head.encode()


async def until_killed(answered: Counter[str], pid: int, port: int, devices: list[Device]) -> None:
    """Acts on all connections, and kills the service in the middle of it."""
    answers, left = 0, random.randint(1, MOST_ANSWERS)
    clients = await connect([port], CLIENTS)

    async def act_on(client: Client, device: Device) -> None:
        nonlocal answers
        while True:
            try:
                answer = await client.ask(revoke(device))
            except ConnectionResetError:
                return
            assert answer.status == 202, answer.body
            answered[device.user_id] += 1
            answers += 1
            if answers == left:
                asyncio.get_running_loop().call_later(random.uniform(0, LATER), os.kill, pid, signal.SIGKILL)

    try:
        acting = (act_on(client, devices[number % len(devices)]) for number, client in enumerate(clients))
        await asyncio.wait_for(asyncio.gather(*acting), 60)
    finally:
        for client in clients:
            client.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        running.delay = 0.01
        yield running


@pytest.fixture
def url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    made = postgres_databases.create()
    yield made
    postgres_databases.drop(made)


@pytest.fixture
def forks(url: str, sts: CannedSts, receiver: Receiver, tmp_path: Path) -> Iterator[Forks]:
    env = environment(url, sts.url) | {
        "TOKENVEND_DATABASE_POOL_SIZE": "4",  # a quicker start
        "TOKENVEND_WEBHOOK_URL": receiver.url,
        "TOKENVEND_WEBHOOK_SECRET": SECRET,
    }
    made = Forks(tmp_path, env)
    yield made
    made.close()


@pytest.mark.all
class TestKill:
    def test_no_event_is_lost_and_doubles_have_one_id(
        self, forks: Forks, url: str, receiver: Receiver, in_full: bool
    ) -> None:
        devices, answered = sign_in(url, DEVICES), Counter[str]()
        for _ in range(ROUNDS if in_full else FEW_ROUNDS):
            uvloop.run(until_killed(answered, *forks.start(), devices))
        taken = "SELECT id FROM outgoing_events WHERE lease IS NOT NULL"
        waiting = "SELECT id FROM outgoing_events WHERE delivered_at IS NULL"
        assert rows(url, taken), "no kill struck while events were being sent"
        _end_leases(url)
        pid, _ = forks.start()
        try:
            assert eventually(lambda: not rows(url, waiting), within=60)
        finally:
            os.kill(pid, signal.SIGKILL)
        assert rows(url, "SELECT id FROM outgoing_events WHERE failed_at IS NOT NULL") == []
        told: dict[tuple[str, int], set[tuple[str, bytes]]] = defaultdict(set)
        for message in receiver.messages:
            assert message.is_signed_by(SECRET)
            data = message.event["data"]
            told[data["user_id"], data["sequence"]].add((message.id, message.body))
        assert all(len(messages) == 1 for messages in told.values())
        ids = [event_id for messages in told.values() for event_id, _ in messages]
        assert len(set(ids)) == len(ids) <= len(receiver.messages) - in_full  # of enough kills some made doubles
        acts = Counter(
            str(uuid.UUID(str(subject)))
            for (subject,) in rows(url, "SELECT subject_id FROM audit_events WHERE event = 'credential.revoked'")
        )
        for device in devices:
            numbers = sorted(number for user_id, number in told if user_id == device.user_id)
            assert numbers == list(range(1, acts[device.user_id] + 1))
            assert len(numbers) >= answered[device.user_id] > 0
        assert {json.loads(message.body)["type"] for message in receiver.messages} == {"credentials.revoked"}


def _end_leases(url: str) -> None:
    """As a minute later."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE outgoing_events SET next_try_at = created_at WHERE delivered_at IS NULL"))
    engine.dispose()
