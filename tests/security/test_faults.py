"""What is answered while a part of the deployment is away: a 503 that says when to try again, and nothing is done."""

import asyncio
import functools
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from uuid import UUID

import psutil
import pytest
from httpx2 import AsyncClient, Response

from app.auth.sessions import SessionState
from app.records.migrate import upgrade
from deploy import reference
from tests.security.observed import assert_problem
from tests.support.databases import DebianServer
from tests.support.needs import need
from tests.support.service import Device, Service, running_service
from tests.vending.crowd import on_loop_of


def assert_unavailable(answer: Response, code: str = "database_unavailable") -> None:
    assert_problem(answer, 503, code)
    assert int(answer.headers["Retry-After"]) >= 1


@contextmanager
def frozen(server: DebianServer) -> Iterator[None]:
    """The server takes connections, since the kernel does, and answers nothing on any."""
    pid = int((server.directory / "data" / "postmaster.pid").read_text().split()[0])
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@pytest.mark.all
class TestDatabase:
    """Section 5 of the security checklist."""

    def test_one_that_is_frozen_is_not_waited_for(self) -> None:
        """OP4: sign-in, session and readiness; all of it works again afterwards, without a restart."""
        need("postgresql")
        server = DebianServer()
        try:
            server.create()
            server.start()
            url = f"postgresql+psycopg://postgres@/postgres?host={server.directory}"
            upgrade(url)
            with running_service(url) as service:
                device = service.device()
                with frozen(server):
                    assert_unavailable(service.log_in(device.email))
                    assert_unavailable(device.get("/v1/me"))
                    assert_unavailable(device.vend())
                    assert service.client.get("/readyz").status_code == 503
                    assert service.client.get("/healthz").status_code == 200
                assert device.vend().status_code == 200
                assert service.log_in(device.email).status_code == 200
        finally:
            server.close()

    def test_a_hundred_at_once_are_refused_before_a_second_try(self, capsys: pytest.CaptureFixture[str]) -> None:
        """OP4: whoever waits behind a frozen line does not wait for the next one too."""
        need("postgresql")
        server = DebianServer()
        try:
            server.create()
            server.start()
            url = f"postgresql+psycopg://postgres@/postgres?host={server.directory}"
            upgrade(url)
            with running_service(url) as service:
                devices = [service.device() for _ in range(4)]
                states = service.runtime.session_states
                tried: list[str] = []
                load = states._load

                async def noted(keys: Sequence[UUID]) -> Mapping[UUID, SessionState | None]:
                    tried.append("begun")
                    try:
                        return await load(keys)
                    finally:
                        tried.append("ended")

                states._load = noted
                with frozen(server):
                    seconds = on_loop_of(service, functools.partial(_hundred, devices))
                    assert tried == ["begun", "ended", "begun"]
                with capsys.disabled():
                    print(f" frozen: 100 refused in {min(seconds):.2f} to {max(seconds):.2f} s ", end="")
                assert devices[0].vend().status_code == 200
        finally:
            server.close()

    def test_a_pool_that_is_used_up_is_not_waited_for(self, service: Service) -> None:
        """OP4: whoever holds them gives them back."""
        device = service.device()
        with ExitStack() as stack:
            for _ in range(service.settings.database_pool_size):
                stack.enter_context(service.runtime.platform.database.engine.connect())
            assert_unavailable(service.log_in(device.email))
        assert service.log_in(device.email).status_code == 200

    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    def test_a_full_disk_refuses_writes_and_breaks_nothing(self, service: Service) -> None:
        """OP4: on SQLite; nothing is half-written."""
        device = service.device()
        limit_pages(service, None)
        answers = [service.register(f"late{number}@example.com") for number in range(40)]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert refused
        for answer in refused:
            assert_unavailable(answer)
        limit_pages(service, 1_000_000)
        assert service.sql("PRAGMA integrity_check") == [("ok",)]
        accepted = len(answers) - len(refused)
        assert service.sql("SELECT count(*) FROM users") == [(accepted + 1,)]
        assert service.sql("SELECT count(*) FROM audit_events WHERE event = 'user.registered'") == [(accepted + 1,)]
        assert device.vend().status_code == 200


async def _hundred(devices: Sequence[Device], client: AsyncClient) -> list[float]:
    """How long each of a hundred requests waited for its 503."""
    loop = asyncio.get_running_loop()

    async def ask(number: int) -> float:
        await asyncio.sleep(0.001 * number)
        device, began = devices[number % len(devices)], loop.time()
        if number % 2:
            answer = await client.get("/v1/me", headers=device.headers)
        else:
            answer = await client.post("/v1/credentials", json={}, headers=device.headers)
        assert_unavailable(answer)
        return loop.time() - began

    return await asyncio.gather(*map(ask, range(100)))


def limit_pages(service: Service, most: int | None) -> None:
    """To so many, or to as many as there are; on every connection of the pool, which has a limit of its own."""
    engine = service.runtime.platform.database.engine
    connections = [engine.raw_connection() for _ in range(service.settings.database_pool_size)]
    for connection in connections:
        ((pages,),) = connection.cursor().execute("PRAGMA page_count")
        connection.cursor().execute(f"PRAGMA max_page_count = {most or pages}")
    for connection in connections:
        connection.close()


def test_a_credential_that_sts_does_not_give_is_not_made_up(service: Service) -> None:
    """OP4: no keys, no row, and the next one is right."""
    device = service.device()
    service.sts.fail("InternalFailure", 500, times=2)
    answer = device.vend()
    assert_unavailable(answer, "sts_unavailable")
    assert "access_key" not in answer.text
    assert service.sql("SELECT count(*) FROM issued_credentials") == [(0,)]
    service.clock.advance(minutes=1)
    assert device.vend().status_code == 200


def test_the_documents_say_how_long_each_wait_is() -> None:
    """OP5: pools, time-outs and tries, from what the service runs with."""
    page = reference.page(reference.waits).read_text(encoding="utf-8")
    assert page == reference.written(reference.waits), "run: make docs-reference"
    assert "| STS, all tries together | 4 s | 503 |" in page
