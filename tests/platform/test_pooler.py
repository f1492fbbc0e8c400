"""A real PgBouncer between the service and PostgreSQL, in both modes, and what the setting's wrong values meet."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, LiteralString

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.admin import prune
from app.cli import doctor
from app.compose import build_runtime
from app.platform.db import Database
from app.platform.pooler import LIMITS, SHARED, UNSET
from app.platform.problems import DatabaseUnavailable
from app.platform.settings import Pooler
from app.records.migrate import upgrade
from app.upkeep.checks import Finding
from tests.security.races import CROWD, all_at_once
from tests.support.canned_sts import CannedSts
from tests.support.databases import PostgresDatabases
from tests.support.pgbouncer import pgbouncer as started
from tests.support.service import running_service, test_settings

pytestmark = pytest.mark.sampled(2)

MODES: tuple[Pooler, ...] = ("session", "transaction")
LIMITS_NOW = text("SELECT " + ", ".join(f"current_setting('{name}')" for name in LIMITS))
DROPS_OPTIONS = {"ignore_startup_parameters": "options"}
Through = Callable[..., str]


@pytest.fixture
def database_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    url = postgres_databases.create()
    yield url
    postgres_databases.drop(url)


@pytest.fixture
def pgbouncer(database_url: str) -> Iterator[Through]:
    """`pgbouncer("session")` is the URL of the database through one in that mode."""
    with ExitStack() as stack:
        yield lambda mode, **settings: stack.enter_context(started(database_url, mode, **settings))


def ask(url: str, statement: LiteralString) -> list[Any]:
    """As another client of the same database, or of the same pooler."""
    place = make_url(url)
    with psycopg.connect(
        **place.query, user=place.username, dbname=place.database, autocommit=True, prepare_threshold=None
    ) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def examine(url: str, **changes: Any) -> Finding:
    """What doctor says of the database."""
    with closing(CannedSts()) as sts:
        runtime = build_runtime(test_settings(database_url=url, sts_endpoint_url=sts.url, **changes))
        return asyncio.run(doctor.examine(runtime))[0]


@pytest.mark.parametrize("mode", MODES)
class TestThroughIt:
    def test_everybody_gets_in(self, pgbouncer: Through, mode: Pooler) -> None:
        """More clients at once than it has sessions of the server, while jobs work beside them."""
        sessions = 40 if mode == "session" else 4
        url = pgbouncer(mode, default_pool_size=sessions)
        with running_service(url, database_pooler=mode, background=True) as service:
            assert service.client.get("/readyz").status_code == 200

            def come(_number: int) -> list[int]:
                device = service.device()
                answers = [device.vend(), device.vend(access="read"), service.refresh(device.refresh_token)]
                return [answer.status_code for answer in (*answers, device.get("/v1/me/credentials"))]

            assert all_at_once(come) == [[200] * 4] * CROWD
            assert service.sql("SELECT count(*) FROM issued_credentials") == [(2 * CROWD,)]

    def test_a_race_has_one_winner(self, pgbouncer: Through, mode: Pooler) -> None:
        with running_service(pgbouncer(mode, default_pool_size=20), database_pooler=mode) as service:
            device = service.device()
            answers = all_at_once(lambda _: service.refresh(device.refresh_token))
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.json()["refresh_token"] for answer in answers}) == 1
            taken = all_at_once(lambda _: service.register("ada@example.org").status_code)
            assert sorted(taken) == [201] + [409] * (CROWD - 1)

    def test_statements_have_their_limits(self, pgbouncer: Through, mode: Pooler) -> None:
        database = Database(pgbouncer(mode), pool_size=1, pooler=mode)

        def limits(session: Session) -> list[str]:
            session.execute(text("SELECT 1"))
            return list(session.execute(LIMITS_NOW).all()[0])

        async def on_line() -> list[str]:
            return list((await database.on_line(LIMITS_NOW, {}))[0])

        expected = ["2500ms", "2s", "10s"]
        for _ in range(2):
            assert database.run("read", limits) == expected
            assert database.run("write", limits) == expected
        assert asyncio.run(on_line()) == expected
        database.close()

    def test_a_statement_that_takes_too_long_ends(self, pgbouncer: Through, mode: Pooler) -> None:
        database = Database(pgbouncer(mode), pool_size=1, pooler=mode)

        def sleep(session: Session) -> None:
            session.execute(text("SELECT pg_sleep(60)"))

        with pytest.raises(DatabaseUnavailable) as refused:
            database.run("read", sleep)
        assert refused.value.cause == "psycopg.errors.QueryCanceled"
        with pytest.raises(DatabaseUnavailable) as refused:
            asyncio.run(database.on_line(text("SELECT pg_sleep(60)"), {}))
        assert refused.value.cause == "psycopg.errors.QueryCanceled"
        database.close()

    def test_a_line_has_committed_when_its_rows_are_there(
        self, pgbouncer: Through, mode: Pooler, database_url: str
    ) -> None:
        database = Database(pgbouncer(mode), pool_size=1, pooler=mode)
        ask(database_url, "CREATE TABLE t (n int PRIMARY KEY)")
        add = text("INSERT INTO t VALUES (:n) RETURNING n")

        async def story() -> None:
            assert await database.on_line(add, {"n": 7}) == [(7,)]
            assert ask(database_url, "SELECT n FROM t") == [(7,)]
            with pytest.raises(psycopg.IntegrityError):
                await database.on_line(add, {"n": 7})
            assert await database.on_line(add, {"n": 8}) == [(8,)]

        asyncio.run(story())
        database.close()

    @pytest.mark.all
    def test_migrations_run_once_from_two_hosts(self, mode: Pooler, postgres_databases: PostgresDatabases) -> None:
        empty = postgres_databases.create_empty()
        code = "import sys; from app.records.migrate import upgrade; upgrade(sys.argv[1], None, sys.argv[2])"

        def run(_host: int) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [sys.executable, "-c", code, url, mode], capture_output=True, text=True, timeout=300, check=False
            )

        with started(empty, mode) as url, ThreadPoolExecutor(2) as pool:
            done = list(pool.map(run, range(2)))
            assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]
            with running_service(url, database_pooler=mode) as service:
                assert service.device().vend().status_code == 200
        postgres_databases.drop(empty)


class TestTransactionMode:
    def test_nothing_is_left_in_a_session(self, pgbouncer: Through) -> None:
        """Whoever gets it next may be another program."""
        url = pgbouncer("transaction", default_pool_size=1)
        with running_service(url, database_pooler="transaction") as service:
            device = service.device()
            assert device.vend().status_code == 200
            platform = service.runtime.platform
            for kind in prune.stale_kinds(platform.clock.now()):
                prune.count_stale(platform, kind)
                list(prune.prune(platform, kind))
            session = ask(
                url,
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), "
                "current_setting('idle_in_transaction_session_timeout'), "
                "(SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()), "
                "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), "
                "(SELECT count(*) FROM pg_class WHERE relpersistence = 't'), "
                "(SELECT count(*) FROM pg_cursors WHERE is_holdable)",
            )
        assert session == [("0", "0", "0", 0, 0, 0, 0, 0)]

    def test_works_without_a_pooler_too(self, database_url: str) -> None:
        with running_service(database_url, database_pooler="transaction") as service:
            assert service.client.get("/readyz").status_code == 200
            assert service.device().vend().status_code == 200


class TestUnset:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("settings", [{}, DROPS_OPTIONS], ids=["refuses options", "drops options"])
    def test_nothing_works_and_says_why(self, pgbouncer: Through, mode: Pooler, settings: dict[str, str]) -> None:
        url = pgbouncer(mode, **settings)
        with running_service(url) as service:
            ready = service.client.get("/readyz")
            assert ready.status_code == 503
            assert "database (pooler_not_set)" in ready.json()["detail"]
            assert {service.register().status_code for _ in range(10)} == {503}
            database = service.runtime.platform.database
            with pytest.raises(DatabaseUnavailable) as refused:
                asyncio.run(database.on_line(text("SELECT 1"), {}))
            assert refused.value.cause in (UNSET, SHARED)
        with pytest.raises(DatabaseUnavailable) as refused:
            upgrade(url)
        assert refused.value.cause == UNSET

    @pytest.mark.parametrize("mode", MODES)
    def test_doctor_names_the_setting(self, pgbouncer: Through, mode: Pooler) -> None:
        url = pgbouncer(mode)
        found = examine(url)
        assert found.state == "failed"
        assert "set TOKENVEND_DATABASE_POOLER" in found.message
        found = examine(url, database_pooler=mode)
        assert found.state == "ok"
        assert "tables in public" in found.message
        assert "statement_timeout 2500ms, lock_timeout 2s, idle_in_transaction_session_timeout 10s" in found.message
        assert found.message.endswith({"session": "are prepared", "transaction": "nothing is prepared"}[mode])

    def test_session_is_not_enough_for_transaction_mode(self, pgbouncer: Through) -> None:
        with running_service(pgbouncer("transaction"), database_pooler="session") as service:
            ready = service.client.get("/readyz")
            assert ready.status_code == 503
            assert "database (pooler_not_set)" in ready.json()["detail"]
            assert {service.register().status_code for _ in range(10)} == {503}
            with pytest.raises(DatabaseUnavailable) as refused:
                service.runtime.platform.database.run("read", lambda session: session.scalar(text("SELECT 1")))
            assert refused.value.cause == SHARED
