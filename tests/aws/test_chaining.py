"""A role that assumes another one gets an hour at most: what the service makes of that."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from httpx2 import AsyncClient

from app.vending.broker import CHAINED, LONG_LIVED
from tests.support.service import Service, running_service
from tests.vending.crowd import on_loop_of, sign_in

A_ROLE = "arn:aws:sts::123456789012:assumed-role/service/i-1"
A_USER = "arn:aws:iam::123456789012:user/service"
LONG = {"credential_ttl": 7200, "credential_max_ttl": 43_200}


@pytest.fixture
def make(database_url: str) -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:

        def make(caller_arn: str, **changes: Any) -> Service:
            service = stack.enter_context(running_service(database_url, **(LONG | changes)))
            service.sts.caller_arn = caller_arn
            return service

        yield make


def asked(service: Service) -> list[tuple[str, str | None]]:
    return [(form["Action"], form.get("DurationSeconds")) for form in service.sts.forms]


class TestRole:
    def test_gets_an_hour_by_default_and_is_asked_for_once(self, make: Callable[..., Service]) -> None:
        service = make(A_ROLE)
        devices = sign_in(service, 3)
        for device in devices:
            answer = device.vend()
            assert (answer.status_code, answer.json()["expires_in"]) == (200, 3600)
        assert asked(service) == [("GetCallerIdentity", None)] + [("AssumeRole", "3600")] * 3

    def test_is_refused_more_by_wish(self, make: Callable[..., Service]) -> None:
        service = make(A_ROLE)
        (device,) = sign_in(service, 1)
        answer = device.vend(duration_seconds=3601)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_duration")
        assert "lets a role assume another one for an hour at most" in answer.json()["detail"]
        assert service.sts.assumed == []

    @pytest.mark.parametrize("duration", [900, 3600])
    def test_is_of_no_interest_for_an_hour(self, make: Callable[..., Service], duration: int) -> None:
        service = make(A_ROLE)
        (device,) = sign_in(service, 1)
        assert device.vend(duration_seconds=duration).json()["expires_in"] == duration
        assert asked(service) == [("AssumeRole", str(duration))]

    def test_is_asked_for_again_where_sts_did_not_say(self, make: Callable[..., Service]) -> None:
        service = make(A_ROLE)
        service.sts.fail("AccessDenied", 403)
        (device,) = sign_in(service, 1)
        assert device.vend().json()["code"] == "sts_refused"
        assert device.vend().json()["expires_in"] == 3600

    def test_is_asked_for_once_by_a_crowd(self, make: Callable[..., Service]) -> None:
        service = make(A_ROLE)
        devices = sign_in(service, 30)

        async def vend_all(client: AsyncClient) -> list[Any]:
            return await asyncio.gather(*(client.post("/v1/credentials", headers=d.headers) for d in devices))

        service.sts.fail("AccessDenied", 403)
        assert {answer.json()["code"] for answer in on_loop_of(service, vend_all)} == {"sts_refused"}
        assert asked(service) == [("GetCallerIdentity", None)]
        assert {answer.json()["expires_in"] for answer in on_loop_of(service, vend_all)} == {3600}
        assert asked(service) == [("GetCallerIdentity", None)] * 2 + [("AssumeRole", "3600")] * 30

    def test_is_warned_of(self, make: Callable[..., Service]) -> None:
        service = make(A_ROLE)
        portal = service.client.portal
        assert portal is not None
        assert portal.call(service.runtime.vending.broker.warnings, 43_200) == [LONG_LIVED, CHAINED]
        assert portal.call(service.runtime.vending.broker.warnings, 3600) == [LONG_LIVED]


class TestUser:
    def test_gets_what_is_asked_for(self, make: Callable[..., Service]) -> None:
        service = make(A_USER)
        (device,) = sign_in(service, 1)
        assert device.vend().json()["expires_in"] == 7200
        assert device.vend(duration_seconds=43_200).json()["expires_in"] == 43_200
        assert asked(service) == [("GetCallerIdentity", None), ("AssumeRole", "7200"), ("AssumeRole", "43200")]


class TestOtherModes:
    @pytest.mark.parametrize(
        ("mode", "action"),
        [
            ("web_identity", "AssumeRoleWithWebIdentity"),
            ("saml", "AssumeRoleWithSAML"),
            ("federation_token", "GetFederationToken"),
        ],
    )
    def test_are_not_chaining(self, make: Callable[..., Service], mode: str, action: str) -> None:
        service = make(A_ROLE, vending_mode=mode)
        (device,) = sign_in(service, 1)
        assert device.vend(duration_seconds=43_200).json()["expires_in"] == 43_200
        assert asked(service) == [(action, "43200")]
