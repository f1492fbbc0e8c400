"""What a worker of `tokenvend serve` has imported when it is ready: nothing that only some requests need."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import PROVIDER_ARN, ROLE_ARN, SECRET_KEY

READY = """
import json, sys
import app.cli.serving
from app.main import create_app_from_environment

app = create_app_from_environment()
app.middleware_stack = app.build_middleware_stack()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
LATER = {
    "the other database": {"sqlite3", "_sqlite3"},
    "commands": {"alembic", "mako"},
    "calls to S3": {"boto3", "s3transfer"},
    "terminals": {"pygments", "rich", "typer"},
    "passwords": {"argon2", "passlib", "zxcvbn"},
    "assertions": {"lxml", "signxml"},
    "passkeys": {"asn1crypto", "cbor2", "pyasn1_modules", "webauthn"},
}


def imported(tmp_path: Path, **settings: str) -> set[str]:
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "AWS_ACCESS_KEY_ID": "AKIABROKERBROKER",
        "AWS_SECRET_ACCESS_KEY": "canary-broker-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TOKENVEND_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        **settings,
    }
    ready = subprocess.run(
        [sys.executable, "-c", READY], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    found = set(json.loads(ready.stdout))
    assert "fastapi" in found
    return found


@pytest.mark.slow("a process that imports the whole service")
def test_worker_has_imported_nothing_that_only_some_requests_need(tmp_path: Path) -> None:
    found = imported(tmp_path)
    assert {of: names & found for of, names in LATER.items() if names & found} == {}


@pytest.mark.all
@pytest.mark.slow("a process that imports the whole service")
def test_worker_in_saml_mode_has_what_signs_assertions(tmp_path: Path) -> None:
    found = imported(tmp_path, TOKENVEND_VENDING_MODE="saml", TOKENVEND_SAML_PROVIDER_ARN=PROVIDER_ARN)
    assert {of for of, names in LATER.items() if names & found} == {"assertions"}
