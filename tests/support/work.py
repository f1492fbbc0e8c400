"""Which lanes a request has worked in, and which limits it had passed by then."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeVar

import pytest

from app.platform.lanes import Lane
from app.platform.limits import LIMITS, Limiter, LimitName

T = TypeVar("T")

# A request is a task with a context of its own, so what it has passed is not another one's.
_passed: ContextVar[tuple[LimitName, ...]] = ContextVar("passed", default=())


@dataclass
class Work:
    """Of all requests since it began."""

    lanes: set[str] = field(default_factory=set)
    limits: set[LimitName] = field(default_factory=set)
    """Passed before the first lane of each request."""


def watch(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Fails a request that works in a lane and has passed no limit of its client's address or its user.

    Other calls, by tests and commands, have a key that is no address.
    """
    work, hit, run = Work(), Limiter.hit, Lane.run

    async def note_hit(limiter: Limiter, name: LimitName, key: str) -> None:
        _passed.set((*_passed.get(), name))
        await hit(limiter, name, key)

    async def note_run(lane: Lane, key: str, call: Callable[[], T]) -> T:
        passed = _passed.get()
        if _is_address(key):
            assert any(LIMITS[name].per in ("address", "user") for name in passed), f"no limit before {lane.name}"
            work.lanes.add(lane.name)
            work.limits.update(passed)
        return await run(lane, key, call)

    monkeypatch.setattr(Limiter, "hit", note_hit)
    monkeypatch.setattr(Lane, "run", note_run)
    return work


def _is_address(key: str) -> bool:
    try:
        ip_address(key)
    except ValueError:
        return False
    return True
