"""Refusals that ask the old system nothing look like those that do, in quiet times and in an outage."""

import asyncio
from collections import Counter

import pytest

from app.auth.old_system import NOBODYS, REMEMBERED, Claimed, NoAnswer, OldSystem
from app.platform.breaker import FAULTS_TO_OPEN, OPEN_FOR
from app.platform.metrics import Metrics
from app.platform.problems import UserPoolUnavailable
from tests.support.clock import ManualClock

ADA = "ada@example.org"


class Scripted(OldSystem):
    """Says no, or fails."""

    brings = frozenset({"old_system"})

    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock, Metrics(), connect_within=1, within=1)
        self.asked: list[tuple[str, str]] = []
        self.fails = self.down = False

    async def _ask(self, email: str, password: str) -> Claimed | None:
        self.asked.append((email, password))
        if self.fails:
            raise NoAnswer("it fails", down=self.down)
        return None


def test_quiet_times_ask_about_nobody() -> None:
    async def play() -> None:
        old = Scripted()
        await old.find_user(ADA, "wrong")
        for _ in range(10):
            await old.linger()
        assert old.asked == [(ADA, "wrong")]

    asyncio.run(play())


def test_after_a_failure_the_next_refusals_ask_about_nobody_until_all_is_well() -> None:
    async def play() -> None:
        old = Scripted()
        old.fails = True
        with pytest.raises(UserPoolUnavailable):
            await old.find_user(ADA, "wrong")
        with pytest.raises(UserPoolUnavailable):
            await old.linger()
        old.fails = False
        for _ in range(REMEMBERED + 5):
            await old.linger()
        about = old.asked[1:]
        assert len(about) == 1 + REMEMBERED
        assert all(email.endswith(f"@{NOBODYS}") and password for email, password in about)
        assert Counter(about).most_common(1)[0][1] == 1

    asyncio.run(play())


def test_while_nobody_is_asked_both_are_refused_at_once() -> None:
    async def play() -> None:
        old = Scripted()
        old.fails = old.down = True
        for _ in range(FAULTS_TO_OPEN):
            with pytest.raises(UserPoolUnavailable):
                await old.find_user(ADA, "wrong")
        with pytest.raises(UserPoolUnavailable):
            await old.linger()
        assert len(old.asked) == FAULTS_TO_OPEN
        old.clock.advance(seconds=OPEN_FOR)
        with pytest.raises(UserPoolUnavailable):
            await old.linger()  # tries whether it is back
        assert len(old.asked) == FAULTS_TO_OPEN + 1
        with pytest.raises(UserPoolUnavailable):
            await old.find_user(ADA, "wrong")
        assert len(old.asked) == FAULTS_TO_OPEN + 1

    asyncio.run(play())
