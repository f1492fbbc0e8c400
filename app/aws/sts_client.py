"""Calls STS with bounded concurrency, Regions in order and one deadline, and raises refusals as problems."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from app.aws.base_credentials import BaseCredentials
from app.aws.endpoints import Endpoints
from app.aws.transport import Answer, Endpoint, Fault, Keys, Transport
from app.platform.clock import Clock
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.problems import (
    Overloaded,
    PolicyTooLarge,
    Problem,
    StsRefused,
    StsThrottled,
    StsUnavailable,
)
from app.platform.tracing import NoTracing, Tracing

CONCURRENT_CALLS = 64
"""Calls at the same time: enough for 600 calls a second, an account's quota in one Region, at 100 ms each."""
MOST_WAITING = 1_000
DEADLINE = 4.0
"""Seconds for one answer, including all tries."""
LONGEST_WAIT = 2.0
"""Seconds of `DEADLINE` to wait for a place. Under overload all calls would otherwise get their place just before the
deadline. None would get an answer in time, and the Region would be blamed."""
LEAST_TRIES = 2
BACKOFF = (0.05, 0.25)
"""Seconds between tries in the same Region, at least and at most."""
SKEW_MEASURED_EVERY = 60.0
SKEW_TOLERATED = 60.0
"""Seconds. At 300 AWS refuses signatures."""


class StsClient:
    def __init__(
        self,
        transport: Transport,
        base: BaseCredentials,
        endpoints: Endpoints,
        clock: Clock,
        metrics: Metrics,
        *,
        tracing: Tracing | None = None,
    ) -> None:
        self._base = base
        self._transport = transport
        self._endpoints = endpoints
        self._clock = clock
        self._metrics = metrics
        self._tracing = tracing or NoTracing()
        self._places = asyncio.Semaphore(CONCURRENT_CALLS)
        self._waiting = 0
        self._skew = 0.0
        self._skew_measured_at = float("-inf")

    async def call(self, action: str, parameters: Mapping[str, Any], *, signed: bool = True) -> Answer:
        """STS's answer, within `DEADLINE`.

        Raises `StsThrottled`, `StsUnavailable`, `StsRefused`, `PolicyTooLarge`, `Overloaded`.
        """
        if self._waiting >= MOST_WAITING:
            raise _overloaded()
        placed = False
        self._count_waiting(+1)
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LONGEST_WAIT) as deadline:
                async with self._places:
                    deadline.reschedule(started + DEADLINE)
                    placed = True
                    self._count_waiting(-1)
                    return await self._tries(action, parameters, deadline, signed=signed)
        except TimeoutError:
            if not placed:
                raise _overloaded() from None
            raise StsUnavailable(cause=f"no answer within {DEADLINE} s", retry_after=_spread(2, 6)) from None
        except Fault as fault:
            raise self._problem(fault) from fault
        finally:
            if not placed:
                self._count_waiting(-1)

    async def signs_with_long_lived_keys(self) -> bool:
        """Whether the base credentials never expire. Raises `StsUnavailable`, `StsRefused`."""
        try:
            return (await self._base.current()).token is None
        except Fault as fault:
            raise self._problem(fault) from fault

    @property
    def clock_skew(self) -> float | None:
        """How many seconds STS's clock is ahead of this machine's, by its last answer with a date; None without one."""
        return None if self._skew_measured_at == float("-inf") else self._skew

    async def close(self) -> None:
        await self._transport.close()
        self._base.close()

    def _count_waiting(self, change: int) -> None:
        self._waiting += change
        self._metrics.sts_waiting.set(self._waiting)

    async def _tries(
        self, action: str, parameters: Mapping[str, Any], deadline: asyncio.Timeout, *, signed: bool
    ) -> Answer:
        """Tries every Region once, or a single one twice; once more with new base credentials. Raises `Fault`."""
        tries = max(LEAST_TRIES, len(self._endpoints.ordered))
        tried: list[Endpoint] = []
        renewed = False
        while True:
            endpoint = self._endpoints.choose(tried)
            if endpoint is None:
                raise Fault("unavailable", "every Region's circuit breaker is open")
            if endpoint in tried:
                await asyncio.sleep(random.uniform(*BACKOFF))  # noqa: S311 - it spreads, it hides nothing
            keys = await self._base.current() if signed else None
            try:
                return await self._try(endpoint, action, parameters, keys, deadline)
            except Fault as fault:
                if fault.kind == "expired" and keys is not None and not renewed and await self._base.renew(keys):
                    renewed = True
                    continue
                tried.append(endpoint)
                if fault.kind not in ("throttled", "unavailable") or len(tried) >= tries:
                    raise

    async def _try(
        self,
        endpoint: Endpoint,
        action: str,
        parameters: Mapping[str, Any],
        keys: Keys | None,
        deadline: asyncio.Timeout,
    ) -> Answer:
        started = self._clock.monotonic()
        outcome: str | None = "unavailable"  # also if our own deadline ends the call
        try:
            with self._tracing.span("sts", "client") as span:
                span.set("tokenvend.sts.action", action)
                span.set("cloud.region", endpoint.region)
                try:
                    answer = await self._transport.send(endpoint, action, parameters, keys)
                except Fault as fault:
                    span.set("tokenvend.sts.outcome", fault.kind)
                    span.fail()
                    raise
            outcome = "ok"
        except Fault as fault:
            outcome = fault.kind
            self._measure_skew(fault.date)
            raise
        except asyncio.CancelledError:
            if not deadline.expired():
                outcome = None  # the caller hung up, which says nothing about the Region
            raise
        finally:
            if outcome is not None:
                self._metrics.count_call(action, endpoint.region, outcome, self._clock.monotonic() - started)
                if outcome == "unavailable":
                    self._endpoints.failed(endpoint)
                else:
                    self._endpoints.succeeded(endpoint)
        if self._clock.monotonic() - self._skew_measured_at > SKEW_MEASURED_EVERY:
            self._measure_skew(answer.date)
        return answer

    def _measure_skew(self, date: str | None) -> None:
        if date is None:
            return
        try:
            self._skew = (parsedate_to_datetime(date) - self._clock.now()).total_seconds()
        except (ValueError, TypeError):  # not a date, or one without a time zone
            return
        self._skew_measured_at = self._clock.monotonic()
        self._metrics.clock_skew.set(self._skew)
        if abs(self._skew) > SKEW_TOLERATED:
            log.warning("clock_skew", seconds=round(self._skew))

    def _problem(self, fault: Fault) -> Problem:
        """The problem for the caller. Its `cause` is for the log."""
        cause = fault.code
        if abs(self._skew) > SKEW_TOLERATED:
            cause += f" (this machine's clock is {-self._skew:+.0f} s off STS's)"
        if fault.kind == "too_large":  # caused by the caller, not the operator
            return PolicyTooLarge(cause=cause)
        if fault.kind == "throttled":
            return StsThrottled(cause=cause, retry_after=_spread(1, 5))
        if fault.kind == "unavailable":
            return StsUnavailable(cause=cause, retry_after=_spread(2, 6))
        return StsRefused(cause=cause, retry_after=_spread(20, 40))


def _overloaded() -> Overloaded:
    return Overloaded("More credentials are asked for than the engine can issue. Try again.", retry_after=_spread(2, 6))


def _spread(least: int, most: int) -> int:
    """Random seconds, so that callers who were refused together do not return together."""
    return random.randint(least, most)  # noqa: S311 - it spreads, it hides nothing


@dataclass(frozen=True, slots=True)
class StsCredential:
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime
    request_id: str | None
