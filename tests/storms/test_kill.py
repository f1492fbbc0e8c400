"""kill -9 in the middle of vending: no credential that anybody received is missing from ledger and audit log."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from tests.storms.clients import Answer, Client, connect, vend
from tests.storms.conftest import rows
from tests.storms.deployment import Device, environment, sign_in
from tests.support.canned_sts import CannedSts

ROUNDS, FEW_ROUNDS = 50, 12
"""On each database."""
DEVICES = 8
CLIENTS = 16
MOST_ANSWERS = 30
LATER = 0.005
"""Seconds, at most, between the answer that is the signal to kill and the kill: it may strike anywhere in a vend."""


class Forks:
    """A service that is there at once, again and again."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self._log = directory / "forks.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.storms.forking"],
                cwd=directory,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start(self) -> tuple[int, int]:
        """Process id and port of a service that answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        words = self._process.stdout.readline().split()
        assert words, self._log.read_text(errors="replace")[-4000:]
        return int(words[0]), int(words[1])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Storm:
    """What the clients have of it."""

    received: list[dict[str, str]] = field(default_factory=list)
    lost: int = 0
    """Vends that were asked for and never answered."""


async def until_killed(storm: Storm, pid: int, port: int, devices: list[Device]) -> None:
    """Vends on all connections, each with a wish of its own, and kills the service in the middle of it."""
    answers, left = 0, random.randint(1, MOST_ANSWERS)
    clients = await connect([port], CLIENTS)

    async def ask_on(client: Client, device: Device) -> None:
        nonlocal answers
        while True:
            try:
                answer: Answer = await client.ask(vend(device, path=f"{uuid.uuid4()}/"))
            except ConnectionResetError:
                storm.lost += 1
                return
            assert answer.status == 200, answer.body
            storm.received.append(answer.json())
            answers += 1
            if answers == left:
                asyncio.get_running_loop().call_later(random.uniform(0, LATER), os.kill, pid, signal.SIGKILL)

    try:
        asking = (ask_on(client, devices[number % len(devices)]) for number, client in enumerate(clients))
        await asyncio.wait_for(asyncio.gather(*asking), 60)
    finally:
        for client in clients:
            client.close()


@pytest.fixture
def forks(database_url: str, sts: CannedSts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forks]:
    monkeypatch.setattr(sts._server, "handle_error", lambda *_: None)  # hundreds who ask it die before its answer
    env = environment(database_url, sts.url) | {"TOKENVEND_DATABASE_POOL_SIZE": "4"}  # a quicker start
    made = Forks(tmp_path, env)
    yield made
    made.close()


@pytest.mark.both_databases
class TestKill:
    def test_whatever_was_received_is_in_ledger_and_audit_log(
        self, forks: Forks, database_url: str, sts: CannedSts, in_full: bool
    ) -> None:
        rounds = ROUNDS if in_full else FEW_ROUNDS
        devices = sign_in(database_url, DEVICES)
        storm, struck = Storm(), 0
        for _ in range(rounds):
            forms, received = len(sts.assumed), len(storm.received)
            uvloop.run(until_killed(storm, *forks.start(), devices))
            struck += len(sts.assumed) - forms > len(storm.received) - received
        ledger = {
            str(uuid.UUID(str(row.id))): row.access_key_id
            for row in rows(database_url, "SELECT id, access_key_id FROM issued_credentials")
        }
        audited = str(rows(database_url, "SELECT detail FROM audit_events WHERE event = 'credential.issued'"))
        for credential in storm.received:
            assert ledger.get(credential["credential_id"]) == credential["access_key_id"]
            assert credential["credential_id"] in audited
        # Nearly every kill struck while STS had answered, or was about to, and the client had not been told.
        assert struck > rounds / (2 if in_full else 4)  # a few rounds may be out of luck
        assert storm.lost > rounds
        # Some of them after the commit, and, of enough kills, some before.
        assert len(storm.received) < len(ledger) <= len(sts.assumed) - in_full
