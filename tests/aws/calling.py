"""A client of STS as the runtime builds it, and what reached the STS that it called."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import boto3
import uvloop

from app.aws.base_credentials import BaseCredentials, default_session
from app.aws.endpoints import Endpoints
from app.aws.signed_transport import SignedTransport
from app.aws.sts_client import StsClient
from app.aws.transport import Answer, Endpoint, Transport
from app.platform.clock import Clock, SystemClock
from app.platform.metrics import Metrics
from tests.support import sigv4
from tests.support.canned_sts import CannedSts

T = TypeVar("T")
REGION = "us-east-1"
PATIENCE = 20
"""Seconds: what is not done by then hangs."""


@dataclass(frozen=True)
class Calling:
    client: StsClient
    base: BaseCredentials
    endpoints: Endpoints
    metrics: Metrics = field(repr=False)

    async def ask(self, action: str = "GetCallerIdentity", **options: Any) -> Answer:
        return await self.client.call(action, {}, **options)

    def age(self, **delta: float) -> None:
        """Moves the clock by which the SDK knows when its credentials expire."""
        self.base._credentials._time_fetcher = lambda: datetime.now(UTC) + timedelta(**delta)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"tokenvend_{name}", labels)


@asynccontextmanager
async def calling(
    url: str,
    *,
    regions: tuple[str, ...] = (REGION,),
    transport: Transport | None = None,
    make_session: Callable[[], boto3.Session] = default_session,
    clock: Clock | None = None,
) -> AsyncIterator[Calling]:
    """The base credentials are those of the SDK's default chain."""
    clock, metrics = clock or SystemClock(), Metrics()
    base = BaseCredentials(make_session)
    endpoints = Endpoints([Endpoint(region, url.replace("{region}", region)) for region in regions], clock, metrics)
    # More connections than places: it is the places that a test counts.
    client = StsClient(transport or SignedTransport(ca_file=None), base, endpoints, clock, metrics)
    try:
        yield Calling(client, base, endpoints, metrics)
    finally:
        await client.close()


def run(story: Callable[[], Awaitable[T]]) -> T:
    """What `story` returns on the event loop of `serve`, within a patience that only a hang exceeds."""

    async def bounded() -> T:
        return await asyncio.wait_for(story(), PATIENCE)

    return uvloop.run(bounded())


def with_client(url: str, story: Callable[[Calling], Awaitable[T]], **options: Any) -> T:
    async def run_it() -> T:
        async with calling(url, **options) as call:
            return await story(call)

    return run(run_it)


def signers(sts: CannedSts) -> list[str]:
    """The access keys that signed, oldest call first."""
    return [sigv4.read(request.headers["authorization"]).access_key_id for request in sts.requests]


async def until(holds: Callable[[], bool]) -> None:
    """Lets the event loop work until it holds; `run` ends what never does."""
    while not holds():  # noqa: ASYNC110 - what it waits for is in other threads too
        await asyncio.sleep(0.002)


def put(file: Path, text: str | None) -> None:
    """What somebody else does to a file meanwhile; None removes it."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


def static_session() -> boto3.Session:
    return boto3.Session(aws_access_key_id="AKIATESTTESTTEST", aws_secret_access_key="base-secret")
