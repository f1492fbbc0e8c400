"""A Redis that may be away: a command has one try, and after a fault Redis is avoided for some seconds.

After any fault, all connections are made anew. A server that refuses (`READONLY` after a failover, `LOADING`) keeps its
connections open, and the address may lead to another server by now.
"""

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from app.platform.clock import Clock
from app.platform.settings import SettingsError

T = TypeVar("T")

CONCURRENT_COMMANDS = 50
"""Each command has its own connection, and the redis package fails when it needs more than 100."""

MOVED = "this server belongs to a cluster: write redis+cluster:// or rediss+cluster:// in its URL"


class RedisAvoided(Exception):
    """Redis is avoided because of a fault now or a moment ago."""


def told(fault: Exception) -> dict[str, str]:
    """What a log says of a fault: its kind, and what the operator can do where only they can."""
    cause = type(fault).__name__
    return {"cause": cause, "mend": MOVED} if cause in ("MovedError", "AskError") else {"cause": cause}


class RedisGuard:
    def __init__(
        self,
        setting: str,
        url: str,
        clock: Clock,
        *,
        timeout: float,
        pause: float,
        on_fault: Callable[[Exception], None],
        on_return: Callable[[], None] = lambda: None,
    ) -> None:
        """Does not connect yet. Raises `SettingsError` if the redis package is not installed or cannot use the URL.

        Redis has `timeout` seconds to answer and is avoided for `pause` seconds. `on_fault` is called before `away`
        changes, and `on_return` when Redis answers again.
        """
        try:
            from app.platform.redis_client import RedisError, close, make_client, renew  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise SettingsError(f"{setting}: Redis needs the package `redis`, which requirements.lock has") from error
        try:
            self.client: Any = make_client(url, timeout=timeout)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{setting}: {_fault(error)}") from None
        self._connect_anew = functools.partial(renew, self.client)
        self.close: Callable[[], Awaitable[None]] = functools.partial(close, self.client)
        self.away = False
        # The package's parser raises the builtin ones for an answer that is not Redis'.
        self._faults = (RedisError, OSError, ValueError, RecursionError)
        self._clock = clock
        self._on_fault = on_fault
        self._on_return = on_return
        self._pause = pause
        self._avoided_until = float("-inf")
        self._places = asyncio.Semaphore(CONCURRENT_COMMANDS)

    async def ask(self, command: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        """Redis' answer. Raises `RedisAvoided`; after a fault, everybody who waits for a place gets it at once."""
        async with self._places:
            now, tries = self._clock.monotonic(), self.away
            if now < self._avoided_until:
                raise RedisAvoided
            if tries:  # whether Redis is back; the others do not wait for the answer
                self._avoided_until = now + self._pause
            try:
                answer = await command(*arguments, **options)
            except self._faults as fault:
                self._avoided_until = self._clock.monotonic() + self._pause
                self._on_fault(fault)
                self.away = True
                self._connect_anew()
                raise RedisAvoided from fault
            if tries and self.away:
                self.away, self._avoided_until = False, float("-inf")
                self._on_return()
            return answer


def _fault(error: Exception) -> str:
    """What is wrong with a URL: only the name of an option, as the message could have a part of the password."""
    option = re.search(r"(?:argument|value for) '([a-z_]+)'", str(error))
    if option is None:
        return "must be a URL such as rediss://:password@cache.example.org:6379/0; in a password `/` is %2F, `#` is %23"
    return f"`{option[1]}` in its URL is no option, or has a wrong value. Options that begin with ssl_ need rediss://"
