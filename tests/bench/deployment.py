"""What figures are taken of: the service as a process of its own, a database with signed-in users, a stub for STS."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.auth.rotation import SessionTokens
from app.compose import build_runtime
from app.crypto.password_hashes import PASSWORD_CONTEXT
from app.crypto.vault import Vault
from app.http.server import bind
from app.platform.clock import SystemClock
from app.platform.settings import Settings
from app.records.models import User as UserRow
from app.records.newcomers import NEWCOMER_FOR
from tests.bench import cores
from tests.support.accounts import add_signed_in

ROOT = Path(__file__).parent.parent.parent
BUCKET = "photos"
ROLE_ARN = "arn:aws:iam::123456789012:role/tokenvend-vending"
SECRET_KEY = "k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s"
PASSWORD = "violet tractor moonlight"
REGION = "us-east-1"
IDLE_FOR = 0.1
"""Seconds without any work, in which a load has drained."""
DRAINED_WITHIN = 15
READY_WITHIN = 120


@dataclass(frozen=True)
class User:
    email: str
    access_token: str


@dataclass(frozen=True)
class Server:
    """A process that listens."""

    process: psutil.Process
    port: int

    def cpu(self) -> float:
        """Seconds of processor time that it has taken so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> float:
        """Resident MB."""
        return float(self.process.memory_info().rss / 1e6)

    def drain(self) -> None:
        """Returns once the server is idle: what an earlier load left behind is no part of the next window."""
        given_up_at = time.monotonic() + DRAINED_WITHIN
        cpu = -1.0
        while (now := self.cpu()) > cpu:
            if time.monotonic() > given_up_at:
                raise RuntimeError("the server under measurement does not become idle")
            cpu = now
            time.sleep(IDLE_FOR)


@dataclass(frozen=True)
class Build:
    """A checkout with its `.venv`."""

    root: Path

    @property
    def python(self) -> str:
        return sys.executable if self.root == ROOT else str(self.root / ".venv" / "bin" / "python")


HERE = Build(ROOT)


@dataclass(frozen=True)
class Deployment:
    """A running service and what it stands on."""

    service: Server
    sts_port: int
    users: list[User]
    core: int | None
    """Where the service runs, alone but for what it is compared with."""
    settings: dict[str, str]


@contextmanager
def deployed(
    directory: Path, database_url: str, users: list[User], core: int | None, build: Build = HERE, **more: str
) -> Iterator[Deployment]:
    """`tokenvend serve` with one worker, its logs in a file of `directory`, over a database that `sign_up` has filled.

    It believes X-Forwarded-For, as behind a load balancer, because limits are by address. `more` is for the environment
    of both service and STS.
    """
    with _python("tests.bench.sts", directory, environment(**more)) as stub:
        settings = {
            "TOKENVEND_DATABASE_URL": database_url,
            "TOKENVEND_SECRET_KEY": SECRET_KEY,
            "TOKENVEND_BUCKET": BUCKET,
            "TOKENVEND_ROLE_ARN": ROLE_ARN,
            "TOKENVEND_STS_ENDPOINT_URL": f"http://127.0.0.1:{stub.port}",
            "TOKENVEND_TRUSTED_PROXIES": "127.0.0.1",
        }
        env = environment(**settings, **more, PYTHONPATH=str(build.root))
        with _served(build, directory, env, core) as service:
            yield Deployment(service, stub.port, users, core, settings)


@contextmanager
def _served(build: Build, directory: Path, env: dict[str, str], core: int | None) -> Iterator[Server]:
    with bind("127.0.0.1", 0) as free:
        port: int = free.getsockname()[1]
    log = directory / "serve.log"
    command = [build.python, "-m", "app", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("a") as output, cores.on(core):
        process = psutil.Popen(command, cwd=directory, env=env, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, port, log)
        yield Server(process, port)
    finally:
        end(process)


def _wait_until_ready(process: psutil.Popen, port: int, log: Path) -> None:
    given_up_at = time.monotonic() + READY_WITHIN
    while time.monotonic() < given_up_at and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:  # not yet: nobody listens, or a part answers 503
            time.sleep(0.02)
    raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")


def floor(deployment: Deployment, directory: Path) -> AbstractContextManager[Server]:
    """The same service with an empty endpoint beside its own, on the same core."""
    return _python("tests.bench.floor", directory, environment(**deployment.settings), deployment.core)


def environment(**more: str) -> dict[str, str]:
    """This machine's, without its settings and AWS keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ACCESS_KEY_ID": "AKIABENCHBENCHBENCH0",
        "AWS_SECRET_ACCESS_KEY": "bench",
        **more,
    }


def _python(
    module: str, directory: Path, env: dict[str, str], core: int | None = None
) -> AbstractContextManager[Server]:
    return serving([sys.executable, "-m", module], module, directory, env, core)


@contextmanager
def serving(
    command: Sequence[str], name: str, directory: Path, env: dict[str, str], core: int | None
) -> Iterator[Server]:
    """A running command that prints its port once it listens."""
    log = directory / f"{name}.log"
    with log.open("a") as stderr, cores.on(core):
        process = psutil.Popen(command, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{name} did not start: {log.read_text()[-2000:]}")
        yield Server(process, int(line))
    finally:
        end(process)
        process.stdout.close()


def end(process: psutil.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()


def start(module: str, job: Any, core: int | None = None) -> "subprocess.Popen[str]":
    """A process that has its job, and will print its result."""
    with cores.on(core):
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert process.stdin is not None
    with process.stdin:
        json.dump(asdict(job), process.stdin)
    return process


def result_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What a process made by `start` prints at its end."""
    assert process.stdout is not None
    with process.stdout:
        text = process.stdout.read()
    if process.wait():
        raise RuntimeError("a process under measurement failed: see above")
    result: dict[str, Any] = json.loads(text)
    return result


SIGN_UP = """
import json, sys
from dataclasses import asdict
from tests.bench.deployment import sign_up
print("signed up " + json.dumps([asdict(user) for user in sign_up(sys.argv[1], int(sys.argv[2]))]))
"""


def sign_up_in(build: Build, database_url: str, people: int) -> list[User]:
    """`sign_up` by another build, in an empty database that this migrates first."""
    env = environment(PYTHONPATH=str(build.root), TOKENVEND_DATABASE_URL=database_url)
    needed = {"TOKENVEND_SECRET_KEY": SECRET_KEY, "TOKENVEND_BUCKET": BUCKET, "TOKENVEND_ROLE_ARN": ROLE_ARN}
    for arguments in (["-m", "app", "migrate"], ["-c", SIGN_UP, database_url, str(people)]):
        done = subprocess.run(
            [build.python, *arguments], cwd=build.root, env=env | needed, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the earlier build failed: {done.stderr[-2000:]}")
    return [User(**user) for user in json.loads(done.stdout.rpartition("signed up ")[2])]


def sign_up(database_url: str, people: int) -> list[User]:
    """Signed-in users, all with PASSWORD, written by the service's own rules: over HTTP each would cost two hashes."""
    settings = Settings(
        _env_file=None, database_url=database_url, secret_key=SECRET_KEY, bucket=BUCKET, role_arn=ROLE_ARN
    )
    runtime = build_runtime(settings)
    try:
        asyncio.run(runtime.keyring.load())
        grants = runtime.platform.database.run("write", _add_users, runtime.platform.vault, people)
        return [
            User(
                email,
                runtime.tokens.mint(
                    user_id=grant.user_id, session_id=grant.session_id, authenticated_at=grant.authenticated_at
                ),
            )
            for email, grant in grants.items()
        ]
    finally:
        asyncio.run(runtime.close())


def _add_users(session: Session, vault: Vault, people: int) -> dict[str, SessionTokens]:
    """They have been there for a while: newcomers share what is left over."""
    now = SystemClock().now()
    password_hash = PASSWORD_CONTEXT.hash(PASSWORD)
    grants = {
        email: add_signed_in(session, vault, now, email, password_hash)
        for email in (f"user{number}@example.org" for number in range(people))
    }
    session.execute(update(UserRow).values(created_at=now - 2 * NEWCOMER_FOR))
    return grants
