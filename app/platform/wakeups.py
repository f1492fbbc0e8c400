"""Tells work in the background that there is something to do, so that it need not wait for its next look."""

import asyncio
import contextlib


class Signals:
    """Told by any thread, waited for in the event loop. What is told while nobody waits is not lost."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}

    def tell(self, name: str) -> None:
        """Does nothing where nobody has listened yet: whoever begins looks first."""
        if found := self._events.get(name):
            loop, event = found
            with contextlib.suppress(RuntimeError):  # its loop has been closed
                loop.call_soon_threadsafe(event.set)

    def listen(self, name: str) -> None:
        """From here on what is told is kept for `wait`."""
        self._events[name] = (asyncio.get_running_loop(), asyncio.Event())

    async def wait(self, name: str, *, seconds: float) -> None:
        """Returns once it is told, or after `seconds`."""
        _loop, event = self._events[name]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        event.clear()
