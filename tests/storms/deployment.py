"""What a storm hits: replicas of the service as processes of their own, and devices that are signed in."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
from sqlalchemy.orm import Session

from app.auth.rotation import SessionTokens
from app.compose import build_runtime
from app.crypto.vault import Vault
from app.platform.clock import SystemClock
from tests.support.accounts import add_signed_in
from tests.support.engine import eventually
from tests.support.ports import free_port
from tests.support.service import ROLE_ARN, SECRET_KEY, test_settings

ROOT = Path(__file__).parents[2]
PUBLIC_URL = "http://127.0.0.1:8000"
"""The issuer of the tokens, wherever a replica listens."""
START_WITHIN = 60.0


@dataclass(frozen=True)
class Device:
    user_id: str
    session_id: str
    access_token: str


def environment(database_url: str, sts_url: str, cache_url: str = "memory://") -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ACCESS_KEY_ID": "AKIASTORMSTORMSTORM0",
        "AWS_SECRET_ACCESS_KEY": "storm",
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": PUBLIC_URL,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": sts_url,
        "TOKENVEND_CACHE_URL": cache_url,
        "TOKENVEND_RATE_LIMITS": "off",
        "TOKENVEND_LOG_LEVEL": "warning",
    }


def sign_in(database_url: str, count: int) -> list[Device]:
    """As many users with a device each, written by the service's own rules without a password hash each."""
    runtime = build_runtime(test_settings(database_url=database_url, public_url=PUBLIC_URL))
    try:
        asyncio.run(runtime.keyring.load())
        grants = runtime.platform.database.run("write", _add_users, runtime.platform.vault, count)
        return [
            Device(
                str(grant.user_id),
                str(grant.session_id),
                runtime.tokens.mint(
                    user_id=grant.user_id, session_id=grant.session_id, authenticated_at=grant.authenticated_at
                ),
            )
            for grant in grants
        ]
    finally:
        asyncio.run(runtime.close())


def _add_users(session: Session, vault: Vault, count: int) -> list[SessionTokens]:
    now = SystemClock().now()
    return [add_signed_in(session, vault, now, f"{uuid.uuid4()}@example.org") for _ in range(count)]


@contextmanager
def serving(directory: Path, env: dict[str, str], count: int) -> Iterator[tuple[int, ...]]:
    """`tokenvend serve` as often as that, on free ports, which are given."""
    with ExitStack() as stack:
        started = [stack.enter_context(_started(directory, env)) for _ in range(count)]
        for process, port, log in started:
            ready = eventually(lambda: process.poll() is not None or _is_alive(port), within=START_WITHIN)  # noqa: B023
            if not ready or process.poll() is not None:
                pytest.fail(f"a replica did not start: {log.read_text(errors='replace')[-4000:]}")
        yield tuple(port for _, port, _ in started)


@contextmanager
def _started(directory: Path, env: dict[str, str]) -> Iterator[tuple["subprocess.Popen[bytes]", int, Path]]:
    port = free_port()
    log = directory / f"serve-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port)],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process, port, log
    finally:
        process.kill()  # an orderly end has tests of its own
        process.wait()


def _is_alive(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            return True
    except OSError:
        return False
