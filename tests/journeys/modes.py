"""`tokenvend dev` in another vending mode, as somebody starts it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.engine import config
from tests.journeys.deployment import Deployment, Keys


@contextmanager
def running_in(mode: str, data_dir: Path, **settings: str) -> Iterator[Deployment]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    environment |= {"TOKENVEND_VENDING_MODE": mode, "TOKENVEND_RATE_LIMITS": "off"}
    environment |= {f"TOKENVEND_{name}": value for name, value in settings.items()}
    with (data_dir / "stderr.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "dev", "--port", "0", "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("ready "), (data_dir / "stderr.log").read_text()[-4000:]
            yield deployment_in(data_dir, line.split()[1])
        finally:
            process.terminate()
            process.wait(timeout=60)
            process.stdout.close()


def deployment_in(data_dir: Path, url: str) -> Deployment:
    kept = json.loads((data_dir / "engine" / "engine.json").read_text(encoding="utf-8"))
    return Deployment(url, config.endpoint_url(kept["first_port"]), "photos", Keys(**kept["keys"]["owner"]))


@dataclass(frozen=True)
class LedgerRow:
    user_id: str
    """32 hexadecimal digits, as SQLite keeps it."""
    session_id: str
    prefix: str
    role_session_name: str


def ledger_row(data_dir: Path, access_key_id: str) -> LedgerRow:
    """What the service wrote down about a credential."""
    with closing(sqlite3.connect(data_dir / "tokenvend.db")) as database:
        (row,) = database.execute(
            "SELECT user_id, session_id, prefix, role_session_name FROM issued_credentials WHERE access_key_id = ?",
            (access_key_id,),
        ).fetchall()
    return LedgerRow(*row)
