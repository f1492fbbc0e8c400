"""Newcomers take turns at changing something. Everybody else waits for none of them."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
from httpx2 import AsyncClient
from sqlalchemy import update

from app.records.models import User
from app.records.newcomers import AT_A_TIME
from tests.support.outside import guest
from tests.support.service import Device, Service
from tests.vending.crowd import on_loop_of, sign_in

LONG_AGO = datetime(2026, 5, 1, tzinfo=UTC)


def _rename(client: AsyncClient, device: Device) -> "asyncio.Task[int]":
    async def ask() -> int:
        answer = await client.patch("/v1/me", json={"display_name": "Ada"}, headers=device.headers)
        return answer.status_code

    return asyncio.create_task(ask())


@pytest.mark.both_databases
class TestTurns:
    """AU22"""

    def test_a_newcomer_waits_and_a_user_of_before_does_not(self, service: Service) -> None:
        old, new = sign_in(service, 2)
        with service.runtime.platform.database.engine.begin() as connection:
            connection.execute(update(User).where(User.email == old.email).values(created_at=LONG_AGO))
        visitor = guest(service)
        turns = service.runtime.newcomers

        async def story(client: AsyncClient) -> list[int]:
            async with AsyncExitStack() as taken:
                for number in range(AT_A_TIME):
                    await taken.enter_async_context(turns.turn(f"crowd {number}"))
                waiting = [_rename(client, device) for device in (new, visitor)]
                waiting.append(asyncio.create_task(_become_guest(client)))
                answers = [await _rename(client, old)]
                answers.append((await client.post("/v1/credentials", json={}, headers=new.headers)).status_code)
                answers.append((await client.get("/v1/me", headers=new.headers)).status_code)
                assert not any(task.done() for task in waiting)
                assert turns.waiting == AT_A_TIME + len(waiting)
            return answers + [await task for task in waiting]

        assert on_loop_of(service, story) == [200, 200, 200, 200, 200, 200]
        assert turns.waiting == 0

    def test_a_refused_change_gives_its_turn_back(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        for _ in range(AT_A_TIME + 1):
            assert device.patch("/v1/me", {"display_name": 7}).status_code == 422
        assert service.runtime.newcomers.waiting == 0


async def _become_guest(client: AsyncClient) -> int:
    return (await client.post("/v1/auth/guest", json={})).status_code
