"""Work in threads: keys take turns, and whoever brings a crowd is the one who is refused."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.platform.lanes import Lane, Turns
from app.platform.problems import Overloaded


class Gate:
    """Calls that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._began = threading.Semaphore(0)
        self._leave = threading.Semaphore(0)

    def call(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.begun.append(name)
            self._began.release()
            self._leave.acquire()
            return name

        return run

    def let_out(self, calls: int) -> None:
        self._leave.release(calls)

    async def until_begun(self, calls: int) -> None:
        for _ in range(calls):
            await asyncio.to_thread(self._began.acquire)

    async def bring(self, lane: Lane, key: str, *names: str) -> list["asyncio.Task[str]"]:
        tasks = [asyncio.create_task(lane.run(key, self.call(name))) for name in names]
        await asyncio.sleep(0)
        return tasks


def run(test: Callable[[Gate], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test(Gate()))


def make(*, threads: int = 1, most_waiting: int = 100, patience: float = 60) -> Lane:
    return Lane("test", threads=threads, most_waiting=most_waiting, patience=patience)


async def outcome(task: "asyncio.Task[str]") -> str:
    try:
        return await task
    except Overloaded:
        return "overloaded"


class TestTurns:
    def test_a_crowd_makes_another_key_wait_for_one_of_its_calls(self) -> None:
        """AU22: sixty of one address, then one each of two others."""

        async def check(gate: Gate) -> None:
            lane = make()
            tasks = await gate.bring(lane, "crowd", *(f"crowd {number}" for number in range(60)))
            tasks += await gate.bring(lane, "ada", "ada")
            tasks += await gate.bring(lane, "bob", "bob")
            gate.let_out(62)
            outcomes = await asyncio.gather(*tasks)
            assert gate.begun[:4] == ["crowd 0", "crowd 1", "ada", "bob"]
            assert gate.begun[4:] == [f"crowd {number}" for number in range(2, 60)]
            assert outcomes == [*(f"crowd {number}" for number in range(60)), "ada", "bob"]
            lane.close()

        run(check)

    def test_as_many_run_as_there_are_threads(self) -> None:
        async def check(gate: Gate) -> None:
            lane = make(threads=2)
            tasks = await gate.bring(lane, "ada", "1", "2", "3")
            await gate.until_begun(2)
            assert lane.waiting == 3
            assert sorted(gate.begun) == ["1", "2"]
            gate.let_out(3)
            await asyncio.gather(*tasks)
            await asyncio.sleep(0)
            assert lane.waiting == 0
            lane.close()

        run(check)

    def test_what_a_call_raises_is_raised_and_frees_its_thread(self) -> None:
        async def check(_gate: Gate) -> None:
            lane = make()
            for _ in range(3):
                with pytest.raises(ZeroDivisionError):
                    await lane.run("ada", lambda: 1 // 0)
            assert await lane.run("ada", lambda: 7) == 7
            lane.close()

        run(check)

    def test_a_turn_without_a_thread_ends_with_its_block(self) -> None:
        async def check(_gate: Gate) -> None:
            turns = Turns("test", places=1, most_waiting=1, patience=60)
            second = asyncio.Event()

            async def wait() -> None:
                async with turns.turn("bob"):
                    second.set()

            async with turns.turn("ada"):
                waiting = asyncio.create_task(wait())
                await asyncio.sleep(0)
                assert (turns.waiting, second.is_set()) == (2, False)
                with pytest.raises(Overloaded):
                    async with turns.turn("bob"):
                        pass
            await waiting
            assert (turns.waiting, second.is_set()) == (0, True)

        run(check)


class TestRefusals:
    def test_the_key_with_most_waiting_loses_its_newest(self) -> None:
        """AU22: not whoever comes when the lane is full."""

        async def check(gate: Gate) -> None:
            lane = make(most_waiting=4)
            crowd = await gate.bring(lane, "crowd", "0", "1", "2", "3", "4")
            (ada,) = await gate.bring(lane, "ada", "ada")
            assert await outcome(crowd[4]) == "overloaded"
            (bob,) = await gate.bring(lane, "bob", "bob")
            assert await outcome(crowd[3]) == "overloaded"
            (more,) = await gate.bring(lane, "crowd", "5")
            assert await outcome(more) == "overloaded"
            gate.let_out(5)
            assert [await outcome(task) for task in (crowd[0], ada, bob)] == ["0", "ada", "bob"]
            assert [await outcome(task) for task in crowd[1:3]] == ["1", "2"]
            lane.close()

        run(check)

    def test_where_all_wait_alike_the_last_one_is_refused(self) -> None:
        async def check(gate: Gate) -> None:
            lane = make(most_waiting=2)
            tasks = await gate.bring(lane, "ada", "running")
            for key in ("ada", "bob"):
                tasks += await gate.bring(lane, key, key)
            (last,) = await gate.bring(lane, "eve", "eve")
            assert await outcome(last) == "overloaded"
            gate.let_out(3)
            assert [await outcome(task) for task in tasks] == ["running", "ada", "bob"]
            lane.close()

        run(check)

    def test_nobody_waits_longer_than_its_patience(self) -> None:
        """AU22: a 503 that says when to come again; the thread is for the next one then."""

        async def check(gate: Gate) -> None:
            lane = make(patience=0.01)
            (running,) = await gate.bring(lane, "ada", "running")
            with pytest.raises(Overloaded) as refused:
                await lane.run("bob", gate.call("bob"))
            assert refused.value.retry_after == 5
            assert lane.waiting == 1
            gate.let_out(1)
            assert await running == "running"
            assert await lane.run("bob", lambda: "later") == "later"
            assert gate.begun == ["running"]
            lane.close()

        run(check)


class TestCancelled:
    def test_one_that_waits_leaves_its_place(self) -> None:
        async def check(gate: Gate) -> None:
            lane = make()
            running, waiting, next_one = await gate.bring(lane, "ada", "running", "waiting", "next")
            waiting.cancel()
            await asyncio.sleep(0)
            assert lane.waiting == 2
            gate.let_out(2)
            assert (await running, await next_one) == ("running", "next")
            assert waiting.cancelled()
            assert "waiting" not in gate.begun
            lane.close()

        run(check)

    def test_one_whose_call_runs_keeps_its_thread_until_that_ends(self) -> None:
        async def check(gate: Gate) -> None:
            lane = make()
            running, next_one = await gate.bring(lane, "ada", "running", "next")
            await gate.until_begun(1)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert gate.begun == ["running"]
            gate.let_out(2)
            assert await next_one == "next"
            lane.close()

        run(check)

    def test_one_whose_turn_comes_at_that_moment_passes_it_on(self) -> None:
        async def check(gate: Gate) -> None:
            lane = make()
            running, waiting, next_one = await gate.bring(lane, "ada", "running", "waiting", "next")
            pass_on = lane._pass_on

            def pass_on_and_cancel() -> None:
                pass_on()
                waiting.cancel()

            lane._pass_on = pass_on_and_cancel  # type: ignore[method-assign]
            gate.let_out(2)
            assert (await running, await next_one) == ("running", "next")
            assert waiting.cancelled()
            assert "waiting" not in gate.begun
            await asyncio.sleep(0)
            assert lane.waiting == 0
            lane.close()

        run(check)
