"""Races: as many threads as it takes, released together."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

T = TypeVar("T")
CROWD = 20


def all_at_once(call: Callable[[int], T], crowd: int = CROWD) -> list[T]:
    """What `call` gives to as many threads, released together by a barrier."""
    barrier = Barrier(crowd)

    def released(index: int) -> T:
        barrier.wait()
        return call(index)

    with ThreadPoolExecutor(crowd) as pool:
        return list(pool.map(released, range(crowd)))
