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


@pytest.mark.parametrize("signed_in", [True, False], ids=["signed_in", "anonymous"])
def test_does_what_the_document_says(dev_server: DevServer, tmp_path: Path, *, signed_in: bool) -> None:
    database = dev_server.data_dir / "tokenvend.db"
    environment = {
        "PATH": os.environ["PATH"],
        "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py"),
        "SERVICE": dev_server.url,
        "DATABASE": str(database) if signed_in else "",
    }
    schemathesis = (TOOLS / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", DOCUMENT)
    options = ("--url", dev_server.url, "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful")
    bounds = ("--max-examples", "3" if signed_in else "1", "--no-color")
    said = run(*schemathesis, *options, *bounds, environment=environment, directory=tmp_path)
    tested = re.search(r"Tested: (\d+)", said)
    assert tested is not None
    assert int(tested[1]) == OPERATIONS
    if signed_in:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            events = {event for (event,) in opened.execute("SELECT DISTINCT event FROM audit_events")}
        assert {"user.invited", "audit.exported", "credential.issued", "guest.created"} <= events
