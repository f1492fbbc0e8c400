"""`tokenvend serve` as somebody runs it: settings from the environment, an engine that runs elsewhere."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from httpx2 import HTTPError, get

from app.engine import Engine
from tests.support.ports import free_port
from tests.support.service import SECRET_KEY

READY_WITHIN = 60.0


@dataclass(frozen=True)
class Served:
    url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def started(directory: Path, settings: Mapping[str, str]) -> Iterator[Served]:
    """A service that is ready, and ends with the block. It writes into the directory's `stderr.log`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (directory / "stderr.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port)],
            stdout=log,
            stderr=log,
            env=environment(url, settings),
        )
    try:
        _wait_until_ready(process, url, directory / "stderr.log")
        yield Served(url, process)
    finally:
        process.terminate()
        process.wait(timeout=60)


def environment(url: str, settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    always = {
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": url,
        "TOKENVEND_S3_FORCE_PATH_STYLE": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return inherited | always | dict(settings)


@contextmanager
def serving(directory: Path, running: Engine, database_url: str) -> Iterator[Served]:
    """The service as in production, with an embedded engine."""
    settings = {
        "TOKENVEND_ENVIRONMENT": "production",
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_EMAIL_VERIFICATION": "off",
        "TOKENVEND_SMTP_URL": "smtp://127.0.0.1:9",
        "TOKENVEND_MAIL_FROM": "photos@example.org",
        "TOKENVEND_BUCKET": running.bucket,
        "TOKENVEND_ROLE_ARN": running.role_arn,
        "TOKENVEND_STS_ENDPOINT_URL": running.endpoint_url,
        "TOKENVEND_S3_ENDPOINT_URL": running.endpoint_url,
        "AWS_REGION": running.region,
        "AWS_ACCESS_KEY_ID": running.access_key_id,
        "AWS_SECRET_ACCESS_KEY": running.secret_access_key,
    }
    with started(directory, settings) as served:
        yield served


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text()[-4000:])
