"""Packages of npm that tests run, as the lock beside them names them."""

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests.support.needs import need

OLDEST = 20


def install(directory: Path) -> None:
    """Installs the packages of the directory, once for a lock. Skips the test where Node is missing or too old."""
    need("npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST:
        pytest.skip(f"Node {OLDEST} or newer is missing: this is {version.strip()}")
    installed = directory / "node_modules" / "installed.json"
    with (directory / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the tests' may be at it
        wanted = lock.read()
        if installed.exists() and installed.read_bytes() == wanted:
            return
        done = subprocess.run(["npm", "ci"], cwd=directory, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        installed.write_bytes(wanted)
