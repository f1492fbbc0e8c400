"""Signals wake a job, and a job that is told to end ends."""

import asyncio

import pytest

from app.platform.wakeups import Signals


class TestWait:
    @pytest.mark.parametrize("rounds", range(6))
    def test_ends_when_it_is_cancelled_as_a_signal_comes(self, rounds: int) -> None:
        """In Python 3.11 `asyncio.wait_for` loses a cancellation that comes with the result: no service would stop."""

        async def story() -> bool:
            signals = Signals()
            signals.listen("work")

            async def work() -> None:
                while True:
                    await signals.wait("work", seconds=60)

            job = asyncio.create_task(work())
            for _ in range(3):
                await asyncio.sleep(0)
            signals.tell("work")
            for _ in range(rounds):
                await asyncio.sleep(0)
            job.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            ended = job.done()
            job.cancel()
            return ended

        assert asyncio.run(story())
