"""New credentials are bounded by user, by client address and for all newcomers together; cached ones are not."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient, Response
from limits import parse
from sqlalchemy import update

from app.platform.limits import LimitName
from app.records.audit import Origin
from app.records.models import User
from app.records.newcomers import CREDENTIALS_AT_A_TIME
from tests.security.observed import assert_problem
from tests.support.outside import guest
from tests.support.service import Device, Service
from tests.vending.crowd import hold, on_loop_of, sign_in

LONG_AGO = datetime(2026, 5, 1, tzinfo=UTC)
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.1"
Make = Callable[..., Service]


@pytest.fixture
def make(make_service: Make) -> Make:
    """The service with limits, which tells clients apart by `X-Forwarded-For`."""

    def make(**changes: Any) -> Service:
        return make_service(rate_limits="on", trusted_proxies=("127.0.0.1",), **changes)

    return make


def set_limit(service: Service, name: LimitName, amount: str) -> None:
    service.runtime.platform.limiter._items[name] = parse(amount)


def vend(device: Device, address: str = HERE, **wish: Any) -> Response:
    headers = device.headers | {"X-Forwarded-For": address}
    return device.service.client.post("/v1/credentials", json=wish, headers=headers)


def accounts(service: Service, count: int) -> list[Device]:
    """Signed in, and registered more than a day ago."""
    devices = sign_in(service, count)
    for device in devices:
        change(service, device, created_at=LONG_AGO)
    return devices


def later(device: Device, **time: float) -> None:
    device.service.clock.advance(**time)
    tokens = device.service.refresh(device.refresh_token).json()
    device.access_token, device.refresh_token = tokens["access_token"], tokens["refresh_token"]


def change(service: Service, device: Device, **values: Any) -> None:
    statement = update(User).where(User.id == UUID(device.user_id)).values(**values)
    service.runtime.platform.database.run("write", lambda session: session.execute(statement))


class TestAddress:
    def test_of_one_only_so_many_are_issued(self, make: Make) -> None:
        """VC12: guests behind one address share its allowance, and nobody elsewhere loses anything."""
        service = make()
        set_limit(service, "new_credential_from", "5/minute")
        guests = [guest(service) for _ in range(3)]
        statuses = [vend(device, path=f"{number}/").status_code for device in guests for number in range(2)]
        assert statuses == [200] * 5 + [429]
        assert len(service.sts.assumed) == 5
        refused = vend(guests[2], path="9/")
        assert_problem(refused, 429, "rate_limited")
        assert refused.headers["Retry-After"] == "60"
        assert vend(guests[2], ELSEWHERE, path="9/").status_code == 200
        service.clock.advance(seconds=60)
        assert vend(guests[2], path="8/").status_code == 200

    def test_what_is_cached_costs_nothing(self, make: Make) -> None:
        service = make()
        set_limit(service, "new_credential_from", "1/minute")
        (device,) = accounts(service, 1)
        assert [vend(device).status_code for _ in range(20)] == [200] * 20
        assert_problem(vend(device, path="new/"), 429, "rate_limited")
        assert vend(device).status_code == 200

    def test_an_older_one_is_given_while_it_lasts(self, make: Make) -> None:
        """As where STS gives none: ten minutes before its end the caller is told to wait."""
        service = make()
        (device, other) = accounts(service, 2)
        set_limit(service, "new_credential_from", "1/hour")
        first = vend(device, ELSEWHERE).json()["credential_id"]
        assert vend(other).status_code == 200
        later(device, minutes=31)
        assert vend(device).json()["credential_id"] == first
        later(device, minutes=20)
        assert_problem(vend(device), 429, "rate_limited")

    def test_a_refusal_is_for_those_of_that_address_alone(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """VC12: a device that waits for the same credential from another address asks for itself."""
        service = make()
        set_limit(service, "new_credential_from", "1/minute")
        device, other = accounts(service, 2)
        assert vend(other).status_code == 200
        hit, both = service.runtime.platform.limiter.hit, threading.Event()

        async def slow(name: LimitName, key: str) -> None:
            if name == "new_credential_from" and key == HERE:
                await asyncio.to_thread(hold, both)
            await hit(name, key)

        monkeypatch.setattr(service.runtime.platform.limiter, "hit", slow)
        fly = service.runtime.vending._cache._fly
        waiting, first = 0, asyncio.Event()

        async def counting(*arguments: Any) -> Any:
            nonlocal waiting
            waiting += 1
            first.set()
            if waiting == 3:
                both.set()
            return await fly(*arguments)

        monkeypatch.setattr(service.runtime.vending._cache, "_fly", counting)

        async def crowd(client: AsyncClient) -> list[Any]:
            def ask(address: str) -> Any:
                headers = device.headers | {"X-Forwarded-For": address}
                return client.post("/v1/credentials", json={}, headers=headers)

            begun = asyncio.create_task(ask(HERE))
            await first.wait()
            return await asyncio.gather(begun, ask(ELSEWHERE), ask(ELSEWHERE))

        answers = on_loop_of(service, crowd)
        assert [answer.status_code for answer in answers] == [429, 200, 200]
        assert answers[1].json()["credential_id"] == answers[2].json()["credential_id"]

    def test_a_job_is_not_limited(self, make: Make) -> None:
        service = make()
        set_limit(service, "new_credential_from", "1/minute")

        async def work() -> None:
            for _ in range(5):
                await service.runtime.vending.issue_to_job(Origin("", "erasure"), uuid4(), access="read")

        assert service.client.portal is not None
        service.client.portal.call(work)
        assert len(service.sts.assumed) == 5


class TestUser:
    def test_gets_half_as_many_new_ones_as_of_all(self, make: Make) -> None:
        """VC8: 30 distinct wishes a minute, beside 60 calls."""
        service = make()
        device, other = accounts(service, 2)
        statuses = [vend(device, path=f"{number}/").status_code for number in range(32)]
        assert statuses == [200] * 30 + [429] * 2
        assert vend(device, path="0/").status_code == 200
        assert vend(other).status_code == 200


class TestNewcomers:
    def test_share_one_half_and_leave_the_other(self, make: Make) -> None:
        """VC12: from however many addresses they come."""
        service = make(sts_quota=4)
        (old,) = accounts(service, 1)
        newcomers = [guest(service), *sign_in(service, 1), guest(service)]
        answers = [vend(device, f"192.0.2.{number}") for number, device in enumerate(newcomers)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 8
        assert vend(old).status_code == 200
        service.clock.advance(seconds=1)
        assert vend(newcomers[2]).status_code == 200

    def test_of_one_address_leave_newcomers_elsewhere_their_share(self, make: Make) -> None:
        """VC12: a hundred addresses do not use up what all newcomers have, and accounts behind one lose nothing."""
        service = make()
        guests, (old,) = [guest(service) for _ in range(22)], accounts(service, 1)
        answers = [vend(device) for device in guests]
        assert [answer.status_code for answer in answers] == [200] * 20 + [429] * 2
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 8
        assert vend(guests[-1], ELSEWHERE).status_code == 200
        assert vend(old).status_code == 200
        service.clock.advance(seconds=10)
        assert vend(guests[-2]).status_code == 200

    def test_are_guests_and_the_new(self, make: Make) -> None:
        service = make(sts_quota=2)
        known, without_address = accounts(service, 2)
        change(service, without_address, email=None, email_key=None, email_verified_at=None)
        old_guest = guest(service)
        change(service, old_guest, created_at=LONG_AGO)
        (new,) = sign_in(service, 1)
        assert vend(new).status_code == 200
        assert_problem(vend(old_guest), 429, "rate_limited")
        assert vend(known).status_code == 200
        assert vend(without_address).status_code == 200


class TestTurns:
    """AU22"""

    def test_newcomers_wait_for_one_another_and_nobody_else_does(self, make: Make) -> None:
        service = make()
        (old,), (new,) = accounts(service, 1), sign_in(service, 1)
        turns = service.runtime.vending._turns
        assert turns is not None

        async def story(client: AsyncClient) -> list[int]:
            async def ask(device: Device) -> int:
                return (await client.post("/v1/credentials", json={}, headers=device.headers)).status_code

            async with AsyncExitStack() as taken:
                for number in range(CREDENTIALS_AT_A_TIME):
                    await taken.enter_async_context(turns.turn(f"crowd {number}"))
                waiting = asyncio.create_task(ask(new))
                answers = [await ask(old)]
                assert (waiting.done(), turns.waiting) == (False, CREDENTIALS_AT_A_TIME + 1)
            return [*answers, await waiting]

        assert on_loop_of(service, story) == [200, 200]
        assert turns.waiting == 0

    def test_without_limits_there_are_none(self, make_service: Make) -> None:
        assert make_service().runtime.vending._turns is None
