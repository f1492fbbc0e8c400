"""Wakes background work as soon as there is something to do, before its next regular pass."""

import asyncio
import contextlib


class Signals:
    """Named signals from any thread to the event loop. A signal that comes while nobody waits is kept."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}

    def tell(self, name: str) -> None:
        """Does nothing before `listen`: a job's first pass finds the work without a signal."""
        if found := self._events.get(name):
            loop, event = found
            with contextlib.suppress(RuntimeError):  # the listener's loop is closed
                loop.call_soon_threadsafe(event.set)

    def listen(self, name: str) -> None:
        """From now on signals of this name are kept for `wait`."""
        self._events[name] = (asyncio.get_running_loop(), asyncio.Event())

    async def wait(self, name: str, *, seconds: float) -> None:
        """Returns after a signal of this name, or after `seconds`."""
        _loop, event = self._events[name]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        event.clear()
