"""The limiter: exact counts in windows that begin with the first hit, and no memory of what has ended."""

import asyncio

import pytest

from app.limits import Limiter
from app.problems import RateLimited
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limiter(clock: ManualClock) -> Limiter:
    return Limiter(clock, enabled=True)


def hits_until_refused(limiter: Limiter, key: str) -> tuple[int, int | None]:
    """How many hits pass, and what the first refused one is told."""
    for number in range(1_000):
        try:
            asyncio.run(limiter.hit("register", key))
        except RateLimited as problem:
            return number, problem.retry_after
    return 1_000, None


class TestLimiter:
    def test_lets_exactly_as_many_pass(self, limiter: Limiter) -> None:
        assert hits_until_refused(limiter, "a") == (30, 60)
        assert hits_until_refused(limiter, "a") == (0, 60)

    def test_counts_each_key_and_each_limit_alone(self, limiter: Limiter) -> None:
        assert hits_until_refused(limiter, "a") == (30, 60)
        assert hits_until_refused(limiter, "b") == (30, 60)
        asyncio.run(limiter.hit("log_in", "a"))

    def test_a_window_begins_with_its_first_hit(self, limiter: Limiter, clock: ManualClock) -> None:
        asyncio.run(limiter.hit("register", "a"))
        clock.advance(seconds=59.5)
        assert hits_until_refused(limiter, "a") == (29, 1)
        clock.advance(seconds=0.5)
        assert hits_until_refused(limiter, "a") == (30, 60)

    def test_refused_hits_do_not_prolong_it(self, limiter: Limiter, clock: ManualClock) -> None:
        hits_until_refused(limiter, "a")
        clock.advance(seconds=30)
        assert hits_until_refused(limiter, "a") == (0, 30)
        clock.advance(seconds=30)
        asyncio.run(limiter.hit("register", "a"))

    def test_forgets_ended_windows(self, limiter: Limiter, clock: ManualClock) -> None:
        for number in range(100):
            asyncio.run(limiter.hit("register", f"early {number}"))
        clock.advance(seconds=30)
        asyncio.run(limiter.hit("register", "late"))
        clock.advance(seconds=30)
        asyncio.run(limiter.hit("register", "early 50"))
        assert list(limiter._windows["register"]) == ["late", "early 50"]

    def test_forgets_what_was_cleared(self, limiter: Limiter) -> None:
        assert hits_until_refused(limiter, "a") == (30, 60)
        asyncio.run(limiter.clear("register", "a"))
        asyncio.run(limiter.clear("register", "never seen"))
        assert hits_until_refused(limiter, "a") == (30, 60)

    def test_does_nothing_when_switched_off(self, clock: ManualClock) -> None:
        assert hits_until_refused(Limiter(clock, enabled=False), "a") == (1_000, None)
