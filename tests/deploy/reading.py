"""The files of `deploy/`, read."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def wait_for(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", *, seconds: float = 60) -> None:
    """Until it is so. Fails where the process ends first, or the time."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)
