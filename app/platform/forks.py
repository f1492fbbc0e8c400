"""Processes that share with their parent what it has imported.

On Linux they are forked, so the parent must have one thread, no event loop and no connection. Elsewhere a fork is not
safe with the system's own libraries: there they are started anew, and share nothing.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

SHARED = sys.platform == "linux"
CONTEXT: Any = multiprocessing.get_context("fork" if SHARED else "spawn")
_HANDLED = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM", "SIGQUIT", "SIGTTIN", "SIGTTOU"))


def make(target: Callable[[], object], *, daemon: bool = False) -> Any:
    """A process for `start`. A `daemon` ends with its parent, unless that is killed: see `has_parent`."""
    return CONTEXT.Process(target=_begin, args=(target,), daemon=daemon)


def start(process: Any) -> None:
    """A signal that comes meanwhile waits: the child would take it with its parent's handler, which does nothing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(target: Callable[[], object]) -> None:
    for number in _HANDLED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is for all processes of a terminal: the parent says so
        target()


def has_parent() -> bool:
    """Whether the process lives that started this one. Siblings hold the pipe by which Python would tell."""
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() == parent.pid


def wait_for_parent_to_end(*, every: float = 0.5) -> None:
    while has_parent():
        time.sleep(every)
