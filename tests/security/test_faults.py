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

from app.accounts import passwords
from app.auth import cognito
from app.auth.sessions import SessionState
from app.aws import sns, sts_client
from app.aws import transport as sts
from app.http import server
from app.http.protocol import Protocol
from app.mail import transport as mail
from app.platform import db, fetcher, hot_connection, limits
from app.platform.db import POSTGRESQL_ARGS
from app.records.migrate import upgrade
from app.vending import replica_cache
from tests.security.observed import assert_problem
from tests.support.databases import DebianServer
from tests.support.documents import ROOT
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


def waits() -> list[str]:
    """What the service waits for and for how long, from what it runs with."""
    options = dict(part.split("=") for part in str(POSTGRESQL_ARGS["options"]).replace("-c ", "").split())
    statement, lock = (int(options[name]) / 1000 for name in ("statement_timeout", "lock_timeout"))
    config = server.make_config("app.main:create_app_from_environment", host="127.0.0.1", port=0)
    told = [
        ("a client's request: the head, then each part of the body", f"{Protocol.head_timeout:g} s each", "408"),
        (f"a client to read {Protocol.reader_progress // 1024} KiB of an answer, or its rest",
         f"{Protocol.reader_timeout:g} s", "closed"),
        ("an idle client connection", f"{config.timeout_keep_alive} s", "closed"),
        ("open requests at a stop", f"{config.timeout_graceful_shutdown} s, less the time of draining", "closed"),
        ("a connection to PostgreSQL, for each host that its URL names",
         f"{POSTGRESQL_ARGS['connect_timeout']} s", "503"),
        ("a free connection of the pool (`TOKENVEND_DATABASE_POOL_SIZE`)", f"{db.POOL['pool_timeout']} s", "503"),
        ("a statement, a lock", f"{statement:g} s, {lock:g} s", "503"),
        ("the database, for each step of a request, even if it is frozen",
         f"{hot_connection.ANSWER_WITHIN:g} s", "503"),
        ("another writer on SQLite", f"{db.SQLITE_BUSY_TIMEOUT:g} s", "503"),
        ("a turn at checking or hashing a password", f"{passwords.PATIENCE:g} s", "503"),
        ("a connection to STS, its answer", f"{sts.CONNECT_TIMEOUT:g} s, {sts.READ_TIMEOUT:g} s",
         f"another try: {sts_client.LEAST_TRIES} in all, or one in each Region"),
        ("STS, all tries together", f"{sts_client.DEADLINE:g} s", "503"),
        ("Redis with the limits", f"{limits.TIMEOUT:g} s",
         f"the replica counts by itself for {limits.AVOIDED_FOR:g} s"),
        ("Redis with the credentials", f"{replica_cache.TIMEOUT:g} s",
         f"the replica goes without it for {replica_cache.AVOIDED_FOR:g} s"),
        ("an OpenID provider's keys", f"{fetcher.FETCH_WITHIN:g} s", "503"),
        ("a Cognito user pool", f"{cognito.CONNECT_WITHIN:g} s, {cognito.ANSWER_WITHIN:g} s", "503"),
        ("SNS, for a certificate or a confirmation", f"{sns.FETCH_WITHIN:g} s", "429, and SNS delivers again"),
        ("a mail server", f"{mail.TIMEOUT:g} s a step, {mail.SEND_WITHIN:g} s a mail", "tried again for a day"),
    ]  # fmt: skip
    return [f"| {what} | {how_long} | {then} |" for what, how_long, then in told]


def test_the_documents_say_how_long_each_wait_is() -> None:
    """OP5: pools, time-outs and tries, from what the service runs with."""
    page = (ROOT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")
    assert page.partition("<!-- waits -->\n")[2].partition("<!-- /waits -->")[0].splitlines()[2:] == waits()
