"""Credentials in memory: one STS call for all who wait, and nobody gets another's."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx2 import AsyncClient

from app.vending.entries import Issued
from tests.support.service import Device, Service
from tests.vending.crowd import hold, on_loop_of, sign_in


async def vend(client: AsyncClient, device: Device, **wish: Any) -> Any:
    return await client.post("/v1/credentials", headers=device.headers, json=wish)


class TestReuse:
    def test_while_more_than_half_of_its_life_is_left(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        first = device.vend(duration_seconds=900).json()
        service.clock.advance(seconds=449)
        again = device.vend(duration_seconds=900).json()
        assert again["credential_id"] == first["credential_id"]
        assert again["session_token"] == first["session_token"]
        assert (again["expires_in"], again["server_time"]) == (451, "2026-06-01T12:07:29Z")
        service.clock.advance(seconds=1)
        fresh = device.vend(duration_seconds=900).json()
        assert fresh["credential_id"] != first["credential_id"]
        assert fresh["expires_in"] == 900
        assert len(service.sts.assumed) == 2

    def test_only_for_the_very_same_wish(self, service: Service) -> None:
        """Everything that shapes a credential is in the key: access, path, duration."""
        (device,) = sign_in(service, 1)
        wishes: list[dict[str, Any]] = [
            {},
            {"access": "read"},
            {"access": "write"},
            {"path": "a/"},
            {"path": "a/b/"},
            {"path": "A/"},
            {"duration_seconds": 900},
            {"access": "read", "path": "a/"},
        ]
        first = [device.vend(**wish).json()["credential_id"] for wish in wishes]
        assert len(set(first)) == len(wishes) == len(service.sts.assumed)
        assert [device.vend(**wish).json()["credential_id"] for wish in wishes] == first
        assert device.vend(duration_seconds=3600, access="read_write", path="").json()["credential_id"] == first[0]
        assert len(service.sts.assumed) == len(wishes)

    def test_only_for_the_same_device(self, service: Service) -> None:
        """A session's name is in its credentials, so that one device can be told, and cut off, from another."""
        phone = service.device("ada@example.org")
        tablet = service.device("ada@example.org")
        keys = [device.vend().json()["access_key_id"] for device in (phone, tablet, phone, tablet)]
        assert keys[:2] == keys[2:]
        assert keys[0] != keys[1]
        names = [form["RoleSessionName"] for form in service.sts.assumed]
        assert [name.split(".")[0] for name in names] == [phone.user_id] * 2
        assert names[0] != names[1]

    def test_a_failure_is_not_kept(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        service.sts.fail("AccessDenied", 403)
        assert device.vend().status_code == 503
        assert device.vend().status_code == 200


class TestSingleFlight:
    @pytest.mark.slow("a crowd")
    def test_a_thousand_at_once_are_one_call(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """STS answers when all have asked, or after a second: sooner than the broker's patience ends."""
        (device,) = sign_in(service, 1)
        all_here = asked_for(service, 1000, monkeypatch)
        service.sts.before_answer = lambda form: hold(all_here)

        async def crowd(client: AsyncClient) -> list[Any]:
            return await asyncio.gather(*(vend(client, device) for _ in range(1000)))

        answers = on_loop_of(service, crowd)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["credential_id"] for answer in answers}) == 1
        assert len(service.sts.assumed) == 1
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(1,)]

    def test_a_failure_is_everybodys_and_one_call(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        (device,) = sign_in(service, 1)
        all_here = asked_for(service, 20, monkeypatch)
        service.sts.before_answer = lambda form: hold(all_here)
        service.sts.fail("AccessDenied", 403)

        async def crowd(client: AsyncClient) -> list[Any]:
            return await asyncio.gather(*(vend(client, device) for _ in range(20)))

        assert [answer.status_code for answer in on_loop_of(service, crowd)] == [503] * 20
        assert len(service.sts.assumed) == 1

    def test_who_hangs_up_takes_it_from_nobody(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        (device,) = sign_in(service, 1)
        all_here, hung_up = asked_for(service, 3, monkeypatch), threading.Event()
        service.sts.before_answer = lambda form: hold(hung_up)

        async def crowd(client: AsyncClient) -> list[Any]:
            calls = [asyncio.create_task(vend(client, device)) for _ in range(3)]
            await asyncio.to_thread(hold, all_here)
            calls[0].cancel()  # the one whose request began the call to STS
            with pytest.raises(asyncio.CancelledError):
                await calls[0]
            hung_up.set()
            return await asyncio.gather(*calls[1:])

        assert [answer.status_code for answer in on_loop_of(service, crowd)] == [200, 200]
        assert len(service.sts.assumed) == 1
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(1,)]

    def test_it_is_issued_though_all_hang_up(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next to ask finds it: in the ledger and in memory."""
        (device,) = sign_in(service, 1)
        all_here, hung_up = asked_for(service, 1, monkeypatch), threading.Event()
        service.sts.before_answer = lambda form: hold(hung_up)

        async def alone(client: AsyncClient) -> Any:
            call = asyncio.create_task(vend(client, device))
            await asyncio.to_thread(hold, all_here)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            hung_up.set()
            return await vend(client, device)

        assert on_loop_of(service, alone).json()["access_key_id"] == "ASIACANNED0000000001"
        assert len(service.sts.assumed) == 1


class TestCrowd:
    @pytest.mark.slow("a crowd")
    def test_nobody_gets_anothers(self, service: Service) -> None:
        """VC9: fifty users, twenty vends each, all at once."""
        devices = sign_in(service, 50)
        asking = [device for device in devices for _ in range(20)]

        async def crowd(client: AsyncClient) -> list[Any]:
            return await asyncio.gather(*(vend(client, device) for device in asking))

        answers = on_loop_of(service, crowd)
        assert len(service.sts.assumed) == 50
        for device, answer in zip(asking, answers, strict=True):
            assert answer.status_code == 200
            assert answer.json()["prefix"] == f"users/{device.user_id}/"
            form = service.sts.forms[int(answer.json()["access_key_id"].removeprefix("ASIACANNED")) - 1]
            assert form["SourceIdentity"] == device.user_id
            assert f"users/{device.user_id}/" in form["Policy"]
        owners = service.sql("SELECT access_key_id, user_id FROM issued_credentials")
        assert len(owners) == len({user_id for _, user_id in owners}) == 50


def asked_for(service: Service, count: int, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the cache has been asked `count` times."""
    reached, asked = threading.Event(), 0
    obtain = service.runtime.vending._cache.obtain

    async def counting(order: Any, issue: Callable[[], Awaitable[Issued]], newcomer_at: Any, **how: Any) -> Issued:
        nonlocal asked
        asked += 1
        if asked == count:
            reached.set()
        return await obtain(order, issue, newcomer_at, **how)

    monkeypatch.setattr(service.runtime.vending._cache, "obtain", counting)
    return reached
