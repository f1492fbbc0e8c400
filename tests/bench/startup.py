"""How long `tokenvend dev` takes from the command to `ready`, with an empty data directory and with a full one."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.deployment import environment


@dataclass(frozen=True)
class Startup:
    cold: float
    warm: float
    """Seconds, medians."""


def measure(directory: Path, *, times: int) -> Startup:
    """Raises RuntimeError with what the command said if it does not come up."""
    cold, warm = [], []
    for number in range(times):
        data_dir = directory / f"dev-{number}"
        cold.append(_seconds_to_ready(directory, data_dir))
        warm.append(_seconds_to_ready(directory, data_dir))
    return Startup(median(cold), median(warm))


def _seconds_to_ready(directory: Path, data_dir: Path) -> float:
    command = [sys.executable, "-m", "app", "dev", "--port", "0", "--data-dir", str(data_dir)]
    log = directory / "dev.log"
    started_at = time.perf_counter()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=directory, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
        seconds = time.perf_counter() - started_at
        process.terminate()
        process.wait(timeout=30)
    if not line.startswith("ready "):
        raise RuntimeError(f"tokenvend dev did not become ready: {log.read_text()[-2000:]}")
    return seconds
