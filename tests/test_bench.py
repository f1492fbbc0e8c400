"""`make bench` measures what it says. Its quick round is part of `make test-all`; here is what that leaves out."""

import json
import subprocess
import sys

import pytest

from tests.bench.__main__ import BUILD

pytestmark = pytest.mark.long


def test_an_earlier_build_is_measured_in_turn() -> None:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--baseline", "HEAD", "vending"]
    subprocess.run(command, cwd=BUILD.parent, check=True, timeout=900)
    taken = json.loads((BUILD / "bench.json").read_text(encoding="utf-8"))
    for call in ("cached", "container", "refresh", "uncached"):
        for who in ("ours", "baseline"):
            assert taken["rounds"]["PostgreSQL"][0][f"{who} {call}"]["statuses"].keys() == {"200"}
    assert "÷ the baseline" in (BUILD / "bench.md").read_text(encoding="utf-8")
