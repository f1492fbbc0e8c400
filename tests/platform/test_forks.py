"""Forked processes, from a process with one thread: that of the tests has several."""

import signal
import subprocess
import sys

import pytest

from app.platform import forks

pytestmark = pytest.mark.skipif(not forks.SHARED, reason="a fork is safe on Linux alone")

TOLD_AT_ONCE = """
import os, signal, time
from app.platform import forks

signal.signal(signal.SIGTERM, lambda *_: None)  # as a supervisor, which notes it for later
children = [forks.make(lambda: time.sleep(60)) for _ in range(10)]
for child in children:
    forks.start(child)
    os.kill(child.pid, signal.SIGTERM)
for child in children:
    child.join()
print([child.exitcode for child in children])
"""
ORPHAN = """
import os
from app.platform import forks

def wait():
    forks.wait_for_parent_to_end(every=0.01)
    os.write(1, b"alone\\n")  # in one piece, so that their lines do not mix

assert not forks.has_parent()
brothers = [forks.make(wait) for _ in range(2)]  # the second holds what tells the first of the parent's end
for brother in brothers:
    forks.start(brother)
os._exit(0)
"""


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True).stdout


def test_signal_before_it_has_its_own_handlers_is_not_lost() -> None:
    assert run(TOLD_AT_ONCE) == f"{[-signal.SIGTERM] * 10}\n"


def test_whose_parent_was_killed_knows_it() -> None:
    assert run(ORPHAN) == "alone\n" * 2
