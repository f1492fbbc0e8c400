"""Many users at once: made without a password hash each, and asking on the event loop of the service itself."""

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from httpx2 import ASGITransport, AsyncClient
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.accounts import add_signed_in
from tests.support.service import Device, Service

T = TypeVar("T")


def sign_in(service: Service, count: int) -> list[Device]:
    return [_sign_in(service) for _ in range(count)]


def _sign_in(service: Service) -> Device:
    runtime, now = service.runtime, service.clock.now()
    email = f"{uuid.uuid4()}@example.org"
    grant = runtime.platform.database.run("write", add_signed_in, runtime.platform.vault, now, email)
    access_token = runtime.tokens.mint(
        user_id=grant.user_id, session_id=grant.session_id, authenticated_at=grant.authenticated_at
    )
    return Device(service, email, access_token, grant.refresh_token, str(grant.session_id), str(grant.user_id))


def on_loop_of(service: Service, story: Callable[[AsyncClient], Awaitable[T]], *, app: ASGIApp | None = None) -> T:
    """What `story` returns, run where the service runs: its requests are as concurrent as a server's are."""
    served = app or service.app

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await served({**scope, "state": {}}, receive, send)  # uvicorn adds it too

    async def run() -> T:
        transport = ASGITransport(with_state, client=("127.0.0.1", 50000))
        async with AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await asyncio.wait_for(story(client), 30)

    portal = service.client.portal
    assert portal is not None
    return portal.call(run)


def hold(event: threading.Event, *, most: float = 1) -> None:
    """Keeps an STS that calls it waiting: for the event, or for `most` seconds, less than the broker's patience."""
    event.wait(most)
