"""Schemathesis sends every operation what fits the document and what does not, signed in as an administrator or not."""

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import DevServer
from tests.sdk.conftest import HERE, ROOT, TOOLS, run

DOCUMENT = ROOT / "deploy" / "sdk" / "openapi.json"
OPERATIONS = sum(map(len, json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"].values()))


SIGNED_IN = pytest.mark.parametrize("signed_in", [True, False], ids=["signed_in", "anonymous"])


@SIGNED_IN
def test_does_what_the_document_says(dev_server: DevServer, tmp_path: Path, *, signed_in: bool) -> None:
    try_every_operation(
        dev_server, tmp_path, "examples,fuzzing,stateful", examples=3 if signed_in else 1, signed_in=signed_in
    )
    if signed_in:
        with closing(sqlite3.connect(f"file:{_database(dev_server)}?mode=ro", uri=True)) as opened:
            events = {event for (event,) in opened.execute("SELECT DISTINCT event FROM audit_events")}
        assert {"user.invited", "audit.exported", "credential.issued", "guest.created"} <= events


@pytest.mark.long
@SIGNED_IN
def test_keeps_every_bound_of_the_document(dev_server: DevServer, tmp_path: Path, *, signed_in: bool) -> None:
    try_every_operation(dev_server, tmp_path, "coverage", examples=1, signed_in=signed_in)


def try_every_operation(server: DevServer, directory: Path, phases: str, *, examples: int, signed_in: bool) -> None:
    """Schemathesis does, in these of its phases."""
    environment = {
        "PATH": os.environ["PATH"],
        "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py"),
        "SERVICE": server.url,
        "DATABASE": str(_database(server)) if signed_in else "",
    }
    schemathesis = (TOOLS / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", DOCUMENT)
    options = (
        "--url",
        server.url,
        "--checks",
        "all",
        "--phases",
        phases,
        "--max-examples",
        str(examples),
        "--no-color",
    )
    said = run(*schemathesis, *options, environment=environment, directory=directory)
    tested = re.search(r"Tested: (\d+)", said)
    assert tested is not None
    assert int(tested[1]) == OPERATIONS


def _database(server: DevServer) -> Path:
    return server.data_dir / "tokenvend.db"
