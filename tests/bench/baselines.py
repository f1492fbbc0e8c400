"""An earlier build of the service, made in a temporary place, to be measured in turn with this one."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.deployment import ROOT, Build


@contextmanager
def built(commit: str) -> Iterator[Build]:
    """A clone at the commit, installed as its own Makefile does. Raises RuntimeError with what went wrong."""
    place = Path(tempfile.mkdtemp(prefix="tv-base-"))
    try:
        _run("git", "clone", "--quiet", "--no-checkout", str(ROOT), str(place / "clone"))
        _run("git", "-C", str(place / "clone"), "checkout", "--quiet", commit)
        _run("make", "-C", str(place / "clone"), "install")
        yield Build(place / "clone")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-1000:]}")
