"""The SeaweedFS process: found, started under its watchdog, stopped."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from app.engine import config, watchdog
from app.engine.errors import EngineError

ELSEWHERE = (
    "set TOKENVEND_STS_ENDPOINT_URL and TOKENVEND_S3_ENDPOINT_URL to an engine elsewhere and use `tokenvend serve`"
)
LOG_FILE = "weed.log"
STOP_TIMEOUT = watchdog.STOP_TIMEOUT + 2
LAST_LINES = 12


def find_weed() -> str:
    """The `weed` of this Python environment, otherwise of the path. Raises `EngineError` if there is none."""
    if sys.platform not in ("linux", "darwin"):
        raise EngineError(f"The embedded engine runs on Linux and macOS only: {ELSEWHERE}.")
    own = Path(sys.executable).with_name("weed")
    found = str(own) if own.is_file() else shutil.which("weed")
    if found is None:
        raise EngineError(
            "The embedded engine, SeaweedFS, is not installed: `make install` in a clone of the repository brings it. "
            f"Where there is none for this machine, {ELSEWHERE}."
        )
    return found


class Weed:
    def __init__(self, supervisor: "subprocess.Popen[bytes]", log: Path) -> None:
        self.pid = 0
        """SeaweedFS's own, not the watchdog's; 0 as long as it is not known."""
        self._supervisor = supervisor
        self._log = log

    def has_ended(self) -> bool:
        return self._supervisor.poll() is not None

    def failure(self, what: str) -> EngineError:
        """An error that ends in the last lines of the log, where SeaweedFS says why."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return EngineError("\n".join([f"{what}. The end of {self._log}:", *lines]))

    def read_pid(self) -> None:
        assert self._supervisor.stdout is not None
        with self._supervisor.stdout as stdout:
            self.pid = int(stdout.readline() or 0)

    def stop(self) -> None:
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.close()
        try:
            self._supervisor.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:  # the watchdog itself hangs, so the process id is still SeaweedFS's
            if self.pid:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            self._supervisor.kill()
            self._supervisor.wait()


@contextmanager
def running(directory: Path, command: Sequence[str], *, lock: IO[str], leftovers: Sequence[str]) -> Iterator[Weed]:
    """Runs SeaweedFS until the end of the block, or of this process, however it ends.

    A child that this process forks without exec would hold the watchdog's pipe open, and keep SeaweedFS alive.
    """
    log = directory / LOG_FILE
    with _new_private_file(log) as stream:
        supervisor = subprocess.Popen(  # noqa: S603 - our interpreter, our file
            [sys.executable, "-I", watchdog.__file__, os.pathsep.join(leftovers), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            cwd=directory,
            env=config.environment(str(directory)),
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C in the terminal is for the service, which then stops the engine
        )
    weed = Weed(supervisor, log)
    try:
        weed.read_pid()
        if not weed.pid:
            raise weed.failure(f"{command[0]} cannot be run")
        yield weed
    finally:
        weed.stop()
        watchdog.remove(leftovers)  # in case the watchdog was killed


def _new_private_file(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
