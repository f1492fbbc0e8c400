"""Metrics of several workers as one sum. Each worker writes its own into files of a folder, and a scrape adds them.

The supervisor makes the folder and removes it. It also adds up what dead workers have counted, so that no counter falls
and no crash leaves a file behind.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.values import MultiProcessValue

if sys.platform != "win32":
    import fcntl

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus_client looks for the folder."""
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it has a random name and is its owner's alone
LIVE = "gauge_live"
"""How the names of files begin that mean nothing once their worker is dead."""

_joined: Path | None = None


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """For the supervisor: a new folder for the workers, in memory where there is such a place. Raises OSError."""
    made = tempfile.mkdtemp(prefix="tokenvend-metrics-", dir=MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def join(directory: Path) -> None:
    """For a worker: all metrics that this process makes from now on are part of the sum."""
    global _joined  # noqa: PLW0603 - it is the process that joins
    os.environ[VARIABLE] = str(directory)
    values.ValueClass = MultiProcessValue()  # type: ignore[no-untyped-call]
    _joined = directory


def joined() -> Path | None:
    return _joined


def bury(directory: Path, pid: int) -> None:
    """For the supervisor: keeps what a dead worker has counted, and forgets the rest of it."""
    with _locked(directory, exclusive=True):
        for file in directory.glob(f"*_{pid}.db"):
            kind = file.name.removesuffix(f"_{pid}.db")
            if not kind.startswith(LIVE) and file.stat().st_size:
                _add(file, directory / f"{kind}_dead.db", latest=kind.startswith("gauge"))
            file.unlink()


def _add(file: Path, to: Path, *, latest: bool) -> None:
    total = MmapedDict(str(to))  # type: ignore[no-untyped-call]
    try:
        for key, value, at, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            known, known_at = total.read_value(key)  # type: ignore[no-untyped-call]
            if not latest:
                total.write_value(key, known + value, 0.0)  # type: ignore[no-untyped-call]
            elif at > known_at:
                total.write_value(key, value, at)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]


class Sum(Collector):
    """All workers' values of the metrics of `registry`. A metric that no worker has set yet is as in this one."""

    def __init__(self, directory: Path, registry: CollectorRegistry) -> None:
        self._directory = directory
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        with _locked(self._directory, exclusive=False):
            files = MultiProcessCollector(None, str(self._directory)).collect()  # type: ignore[no-untyped-call]
            summed = {family.name: family for family in files if family.samples}
        for family in self._registry.collect():
            yield summed.get(family.name, family)


@contextlib.contextmanager
def _locked(directory: Path, *, exclusive: bool) -> Iterator[None]:
    """No scrape reads a file while what it holds moves to another one."""
    if sys.platform == "win32":
        yield
        return
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
