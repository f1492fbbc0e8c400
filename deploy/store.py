"""The embedded engine as compose.yaml runs it: that of `tokenvend dev`, on loopback, behind the proxy beside it.

Writes the broker's keys as an AWS credentials file once it is ready: the service reads it, and nobody types a key.
"""

import json
import os
import signal
import threading
from dataclasses import asdict
from pathlib import Path

from app import engine
from app.engine import config, directory
from app.platform.page_access import EXPOSED_HEADERS
from app.platform.urls import origin_of

FIRST_PORT = 12_000
"""Of S3 and STS: the proxy's configuration names it."""


def main(
    data_dir: Path, credentials: Path, origins: tuple[str, ...], exposed: tuple[str, ...], first_port: int
) -> None:
    """Returns on SIGTERM or SIGINT, with the engine ended."""
    credentials.unlink(missing_ok=True)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    state = data_dir / directory.STATE_FILE
    if not state.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.write(state, json.dumps({"first_port": first_port, "keys": asdict(config.Keys.random())}))
    with engine.start(data_dir, allowed_origins=origins, exposed_headers=(*EXPOSED_HEADERS, *exposed)) as running:
        keys = f"aws_access_key_id = {running.access_key_id}\naws_secret_access_key = {running.secret_access_key}\n"
        directory.write(credentials, f"[default]\n{keys}")
        stopped.wait()
        credentials.unlink(missing_ok=True)


def listed(name: str) -> tuple[str, ...]:
    """The parts of a variable that has commas between them."""
    return tuple(part.strip() for part in os.environ.get(name, "").split(",") if part.strip())


if __name__ == "__main__":
    main(
        Path(os.environ["STORE_DIR"]),
        Path(os.environ["STORE_CREDENTIALS"]),
        tuple(map(origin_of, listed("STORE_ORIGINS"))),
        listed("STORE_EXPOSED_HEADERS"),
        int(os.environ.get("STORE_PORT", FIRST_PORT)),
    )
