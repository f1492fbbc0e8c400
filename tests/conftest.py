import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3  # noqa: F401 - the service loads these late, and no test is to be charged for it
import passlib.totp  # noqa: F401
import pytest
import webauthn  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st

import app.accounts.password_strength  # noqa: F401
from app.accounts import passwords
from app.records import secret_keys
from tests.security.cheap_hashing import CountingContext
from tests.support import compiled
from tests.support.databases import PostgresDatabases, SqliteDatabases
from tests.support.remembered_hashing import REMEMBERING_CONTEXT
from tests.support.service import Service, running_service
from tests.support.work import watch

pytest_plugins = ("pytester", "tests.support.logged", "tests.tiers")
DATABASES = ("sqlite", "postgresql")
MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3


def pytest_configure() -> None:
    """Files of tests are in memory where there is room: a database is made and dropped in a sixth of the time."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        place = os.statvfs(MEMORY)
        if place.f_bavail * place.f_frsize > ROOM and not place.f_flag & os.ST_NOEXEC:
            os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
    os.environ.pop("MAKELEVEL", None)  # what a test starts was not started by `make`, whatever started the tests


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps each group in one worker: xdist 3.8 sets a name for it that pytest 9.2 does not read any more."""
    if not config.getoption("loadgroup", default=False):
        return
    for item in items:
        group = _group(item, config.getoption("tier"))
        if group is not None and not item.nodeid.endswith(f"@{group}"):
            item._id = type(item.id).parse(f"{item.nodeid}@{group}")
            assert item.nodeid.endswith(f"@{group}")


def _group(item: pytest.Item, tier: str | None) -> str | None:
    """Tests that share a server, or what else is made once for a file, so that one worker makes it."""
    mark = item.get_closest_marker("xdist_group")
    if mark is not None:
        return str(mark.args[0])
    fixtures = getattr(item, "_fixtureinfo", None)
    if fixtures is None:
        return None
    if tier == "quick" and (servers := {"dev_server", "live_server"} & set(fixtures.names_closure)):
        return min(servers)
    if any(definitions[-1].scope == "module" for definitions in fixtures.name2fixturedefs.values()):
        return item.path.stem
    return None


@settings(max_examples=1, database=None)
@given(st.text())
def _try_a_property(_text: str) -> None:
    """In a new clone Hypothesis looks through all characters and sources first, for 2 s: no test is charged for it."""


def pytest_collection_finish() -> None:
    """What was imported and collected stays, as in a server: to walk it again and again was a sixth of the work."""
    _try_a_property()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings, or the AWS keys, of the machine that it runs on."""
    for name in list(os.environ):
        if name.startswith(("TOKENVEND_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(autouse=True)
def remembered_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for the hash of a password that was worked out before."""
    monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", REMEMBERING_CONTEXT)


@pytest.fixture(autouse=True)
def no_work_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """AU22: a request that judges, hashes or verifies a password before it has passed a limit fails in every test."""
    watch(monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        compiled.share(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_look_for_another_secret_key() -> Iterator[None]:
    """Each service looks every ten seconds by itself: statements that a test counts would be amid them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secret_keys, "LOOK_EVERY", 3600.0)
        yield


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[PostgresDatabases]:
    # Not under pytest's own directory: the socket's path must stay short, and the server's user must reach it.
    directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
    databases = PostgresDatabases(directory)
    yield databases
    databases.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, migrated database: SQLite, and for tests marked `both_databases` PostgreSQL too."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_databases").create(tmp_path)
        return
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> CountingContext:
    """Password hashes of a thousandth of the cost, counted: for tests with many accounts."""
    context = CountingContext()
    monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", context)
    return context


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    """The service on a fresh database, with a canned STS and a clock of its own."""
    with running_service(database_url) as running:
        yield running


@pytest.fixture
def make_service(database_url: str) -> Iterator[Callable[..., Service]]:
    """The same with other settings: `make_service(rate_limits="on")`."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Service:
            return stack.enter_context(running_service(database_url, **changes))

        yield make


@dataclass(frozen=True)
class DevServer:
    url: str
    data_dir: Path
    process: "subprocess.Popen[str]"


@pytest.fixture(scope="session")
def dev_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """`tokenvend dev` as a user starts it: a process of its own, with the embedded engine."""
    data_dir = tmp_path_factory.mktemp("dev")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    with (data_dir / "stderr.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "dev", "--port", "0", "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment | {"TOKENVEND_RATE_LIMITS": "off"},
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("ready "), (data_dir / "stderr.log").read_text()[-4000:]
            yield DevServer(line.split()[1], data_dir, process)
        finally:
            process.terminate()
            process.wait(timeout=60)
            process.stdout.close()
