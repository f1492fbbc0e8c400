import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.security.observed import LiveServer
from tests.support.canned_sts import CannedSts
from tests.support.databases import SqliteDatabases
from tests.support.ports import free_port
from tests.support.service import ROLE_ARN, SECRET_KEY, Service, running_service

START_WITHIN = 60.0


@pytest.fixture(scope="module")
def shared(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service on SQLite for a whole file: for input that must not get as far as the database."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TOKENVEND_", "AWS_"))]:
            patch.delenv(name)
        with running_service(sqlite_databases.create(tmp_path_factory.mktemp("shared"))) as running:
            yield running


@pytest.fixture
def make_on_sqlite(sqlite_databases: SqliteDatabases, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """`make_service` on SQLite alone: for what no database has a say in."""
    url = sqlite_databases.create(tmp_path)
    with ExitStack() as stack:

        def make(**changes: Any) -> Service:
            return stack.enter_context(running_service(url, **changes))

        yield make


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of our own; `accept` fails as long as nobody has come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="session")
def live_server(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """`tokenvend serve` as an operator starts it, at its most talkative, and all that it prints."""
    directory = tmp_path_factory.mktemp("live")
    port = free_port()
    sts = CannedSts()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    environment |= {
        "AWS_ACCESS_KEY_ID": "AKIABROKERBROKER",
        "AWS_SECRET_ACCESS_KEY": "canary-broker-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TOKENVEND_DATABASE_URL": sqlite_databases.create(directory),
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": url,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": sts.url,
        "TOKENVEND_RATE_LIMITS": "off",
        "TOKENVEND_LOG_LEVEL": "debug",
    }
    server = LiveServer(port, directory, sts)
    with server.stdout.open("wb") as stdout, server.stderr.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port)],
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd=Path(__file__).parents[2],
        )
    try:
        _wait_until_alive(process, f"{url}/healthz", server.stderr)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)
        sts.close()


def _wait_until_alive(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the server did not start: {log.read_text()[-4000:]}")
