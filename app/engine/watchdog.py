"""Holds SeaweedFS for a service that may die at any moment: `python -I watchdog.py SOCKETS COMMAND…`.

Standard input is a pipe whose other end the service holds. When it closes, because the service stopped or was killed,
SeaweedFS is told to stop, is killed if that takes too long, and the SOCKETS it may leave behind (joined by `:`) are
removed. On Linux it dies with this process, too. Its process id is printed first. Runs on the standard library alone.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

STOP_TIMEOUT = 3.0
"""Seconds for an orderly stop, which takes 1.2."""
PR_SET_PDEATHSIG = 1


def main(sockets: list[str], command: list[str]) -> None:
    woken = _readable_on(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    weed = subprocess.Popen(  # noqa: S603 - the command is the service's
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        close_fds=False,  # the lock on the data directory is held until SeaweedFS itself is gone
        preexec_fn=_dying_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509 - there is one thread
    )
    sys.stdout.write(f"{weed.pid}\n")
    sys.stdout.close()
    select.select([sys.stdin, woken], [], [])  # the service is gone, SeaweedFS is gone, or we are told to stop
    weed.terminate()
    try:
        weed.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        weed.kill()
        weed.wait()
    remove(sockets)


def remove(sockets: Sequence[str]) -> None:
    for path in sockets:
        with suppress(OSError):  # it is gone, or somebody else's
            Path(path).unlink()


def _readable_on(*signals: signal.Signals) -> int:
    """A file descriptor that becomes readable when one of the signals comes."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return readable


def _dying_with_parent() -> Callable[[], None]:
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request took effect
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


if __name__ == "__main__":
    os.umask(0o077)
    main([path for path in sys.argv[1].split(os.pathsep) if path], sys.argv[2:])
