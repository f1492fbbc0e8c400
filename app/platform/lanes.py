"""Clients take turns at a shared resource. The number of waiting calls is bounded, and so is their waiting time.

A `Lane` has its own threads, for work that takes a core for a while.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.platform.problems import Overloaded

T = TypeVar("T")


class Turns:
    """Lets only a few calls run at a time, so that one kind of work does not take the whole process.

    Keys take turns. However many calls one key brings, another key waits for only one of them in each round. If too
    many calls wait, the key with the most calls loses its newest one. `patience` is the longest wait, in seconds.
    """

    def __init__(self, name: str, *, places: int, most_waiting: int, patience: float) -> None:
        self.name = name
        self._places = self._free = places
        self._most_waiting = most_waiting
        self._patience = patience
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """Waiting calls by key, oldest first. The keys are in the order of their turns."""
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Raises `Overloaded` if the turn does not come in time, or too many calls wait."""
        await self._take_turn(key)
        try:
            yield
        finally:
            self._pass_on()

    @property
    def waiting(self) -> int:
        """Calls that wait or run."""
        return self._waiting + self._places - self._free

    async def _take_turn(self, key: str) -> None:
        if self._free:
            self._free -= 1
            return
        if self._waiting >= self._most_waiting:
            self._make_room(key)
        turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(key, deque()).append(turn)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # the turn came just as the call gave up
            self._leave(key, turn)
            if isinstance(error, TimeoutError):
                raise Overloaded(retry_after=5) from None
            raise

    def _pass_on(self) -> None:
        """Gives the freed place to the key whose turn it is. That key then moves to the end."""
        while self._queues:
            key = next(iter(self._queues))
            turn = self._queues[key][0]
            self._leave(key, turn)
            if key in self._queues:
                self._queues[key] = self._queues.pop(key)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _make_room(self, key: str) -> None:
        """Refuses the newest call of the key with the most calls. Raises `Overloaded` if `key` itself would be that."""
        crowd = max(self._queues, key=lambda other: len(self._queues[other]))
        if len(self._queues[crowd]) <= len(self._queues.get(key, ())) + 1:
            raise Overloaded(retry_after=5)
        newest = self._queues[crowd][-1]
        self._leave(crowd, newest)
        if not newest.done():
            newest.set_exception(Overloaded(retry_after=5))

    def _leave(self, key: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(key)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        self._waiting -= 1
        if not queue:
            del self._queues[key]


class Lane(Turns):
    """Runs calls in its own threads, so that one kind of work does not wait behind another."""

    def __init__(self, name: str, *, threads: int, most_waiting: int, patience: float) -> None:
        super().__init__(name, places=threads, most_waiting=most_waiting, patience=patience)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, key: str, call: Callable[[], T]) -> T:
        """The result of the call. Raises what the call raises, and `Overloaded` like `turn`."""
        await self._take_turn(key)
        loop = asyncio.get_running_loop()
        running = self._pool.submit(call)
        # Frees the place when the call ends. A cancelled caller leaves earlier, while its call still has the thread.
        running.add_done_callback(lambda _: _from_thread(loop, self._pass_on))
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(call)
