"""The service in another vending mode, as somebody starts it: by `dev`, or by `serve` where `dev` does not know it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from httpx2 import get

from app import engine
from app.engine import config
from app.records.migrate import upgrade
from app.vending.saml_metadata import METADATA_PATH
from tests.journeys.deployment import Deployment, Keys
from tests.journeys.served import started
from tests.support.saml_sts import SamlEngineSts


@contextmanager
def running_in(mode: str, data_dir: Path, **settings: str) -> Iterator[Deployment]:
    if mode == "saml":
        with _running_by_saml(data_dir, **settings) as deployment:
            yield deployment
        return
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


@contextmanager
def _running_by_saml(data_dir: Path, **settings: str) -> Iterator[Deployment]:
    """The embedded engine knows no SAML: what stands in front of it for STS believes what it has verified alone."""
    database_url = f"sqlite:///{data_dir / 'tokenvend.db'}"
    upgrade(database_url)
    with engine.start(data_dir / "engine") as running, closing(SamlEngineSts(running)) as sts:
        given = {
            "DATABASE_URL": database_url,
            "VENDING_MODE": "saml",
            "SAML_PROVIDER_ARN": sts.provider_arn,
            "BUCKET": running.bucket,
            "ROLE_ARN": running.role_arn,
            "STS_ENDPOINT_URL": sts.url,
            "S3_ENDPOINT_URL": running.endpoint_url,
            "RATE_LIMITS": "off",
            **settings,
        }
        environment = {f"TOKENVEND_{name}": value for name, value in given.items()} | {"AWS_REGION": running.region}
        with started(data_dir, environment) as served:
            sts.upload(get(served.url + METADATA_PATH).content)
            yield deployment_in(data_dir, served.url)


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
