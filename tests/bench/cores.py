"""One core for what is measured, the others for what measures it: database, STS and load generator cost it nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def reserve() -> int | None:
    """Moves this process, and all that it starts, off one core, and returns it; None where there is none to spare."""
    if not hasattr(os, "sched_setaffinity"):  # Linux alone has it
        return None
    *others, core = sorted(os.sched_getaffinity(0))
    if not others:
        return None
    os.sched_setaffinity(0, others)
    return core


@contextmanager
def on(core: int | None) -> Iterator[None]:
    """What is started meanwhile runs on the core: a process inherits where its starter may run."""
    if core is None:
        yield
        return
    others = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, others)
