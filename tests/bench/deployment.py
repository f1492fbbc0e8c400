"""What figures are taken of: the service as a process of its own, a database with signed-in users, a stub for STS."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy.orm import Session

from app import audit
from app.accounts import addresses, registration
from app.auth import sessions
from app.auth.sessions import Grant
from app.clock import SystemClock
from app.crypto import PASSWORD_CONTEXT, Vault
from app.runtime import build_runtime
from app.settings import Settings

ROOT = Path(__file__).parent.parent.parent
BUCKET = "photos"
ROLE_ARN = "arn:aws:iam::123456789012:role/tokenvend-vending"
SECRET_KEY = "k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s"
PASSWORD = "violet tractor moonlight"
USERS = 256


@dataclass(frozen=True)
class User:
    email: str
    access_token: str


@dataclass(frozen=True)
class Deployment:
    """A running service and what it stands on."""

    process: psutil.Process
    port: int
    sts_port: int
    users: list[User]

    def cpu(self) -> float:
        """Seconds of processor time that the service has taken so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> float:
        """Resident MB."""
        return float(self.process.memory_info().rss / 1e6)


@contextmanager
def deployed(directory: Path, database_url: str, users: list[User]) -> Iterator[Deployment]:
    """One worker, with its logs in a file of `directory`, over a database that `sign_up` has filled."""
    with _serving("tests.bench.sts", directory, environment()) as (_, sts_port):
        settings = {
            "TOKENVEND_DATABASE_URL": database_url,
            "TOKENVEND_SECRET_KEY": SECRET_KEY,
            "TOKENVEND_BUCKET": BUCKET,
            "TOKENVEND_ROLE_ARN": ROLE_ARN,
            "TOKENVEND_STS_ENDPOINT_URL": f"http://127.0.0.1:{sts_port}",
            "TOKENVEND_RATE_LIMITS": "off",
        }
        with _serving("tests.bench.served", directory, environment(**settings)) as (service, port):
            yield Deployment(service, port, sts_port, users)


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


@contextmanager
def _serving(module: str, directory: Path, env: dict[str, str]) -> Iterator[tuple[psutil.Process, int]]:
    """A running `python -m module`, and the port that it prints once it listens."""
    log = directory / f"{module}.log"
    with log.open("a") as stderr:
        process = psutil.Popen(
            [sys.executable, "-m", module], cwd=directory, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} did not start: {log.read_text()[-2000:]}")
        yield process, int(line)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def start(module: str, job: Any) -> "subprocess.Popen[str]":
    """A process that has its job, and will print its result."""
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


def sign_up(database_url: str) -> list[User]:
    """Signed-in users, all with PASSWORD, written by the service's own rules: over HTTP each would cost two hashes."""
    settings = Settings(
        _env_file=None, database_url=database_url, secret_key=SECRET_KEY, bucket=BUCKET, role_arn=ROLE_ARN
    )
    runtime = build_runtime(settings)
    try:
        asyncio.run(runtime.keyring.load())
        grants = runtime.database.run("write", _add_users, runtime.vault)
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


def _add_users(session: Session, vault: Vault) -> dict[str, Grant]:
    now = SystemClock().now()
    password_hash = PASSWORD_CONTEXT.hash(PASSWORD)
    grants = {}
    for number in range(USERS):
        address = addresses.parse(f"user{number}@example.org")
        user_id = registration.add_user(session, audit.COMMAND_LINE, now, address=address, password_hash=password_hash)
        grants[address.text] = sessions.start(
            session,
            vault,
            audit.COMMAND_LINE,
            now,
            user_id=user_id,
            verified_hash=password_hash,
            new_hash=None,
            device_name="bench",
        )
    return grants
