"""The loop's own connection to PostgreSQL: faults become 503 and never outlive their statement."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, LiteralString

import psycopg
import pytest
from sqlalchemy.engine import make_url

from app.platform import hot_connection
from app.platform.hot_connection import Line
from app.platform.pooler import connect_arguments
from app.platform.problems import DatabaseUnavailable
from tests.support.databases import PostgresDatabases

BACKEND = "SELECT pg_backend_pid()"


@pytest.fixture
def arguments(postgres_databases: PostgresDatabases) -> Iterator[Mapping[str, Any]]:
    url = postgres_databases.create()
    parsed = make_url(url)
    place = {"host": parsed.query["host"], "user": parsed.username, "dbname": parsed.database}
    yield {**place, **connect_arguments(parsed, "none")}
    postgres_databases.drop(url)


def with_line(arguments: Mapping[str, Any], story: Callable[[Line], Awaitable[None]]) -> None:
    async def follow() -> None:
        one = Line(arguments)
        try:
            await story(one)
        finally:
            one.close()

    asyncio.run(follow())


async def backend(one: Line) -> int:
    ((pid,),) = await one.execute(BACKEND, {})
    return int(pid)


def run(arguments: Mapping[str, Any], statement: LiteralString) -> None:
    with psycopg.connect(**arguments, autocommit=True) as other:
        other.execute(statement)


def end(arguments: Mapping[str, Any], pid: int) -> None:
    with psycopg.connect(**arguments, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])


class TestExecute:
    def test_what_a_statement_wrote_is_committed_when_its_rows_are_there(self, arguments: Mapping[str, Any]) -> None:
        async def story(one: Line) -> None:
            run(arguments, "CREATE TABLE t (n int)")
            assert await one.execute("INSERT INTO t VALUES (%(n)s) RETURNING n", {"n": 7}) == [(7,)]
            with psycopg.connect(**arguments) as other:
                assert other.execute("SELECT n FROM t").fetchall() == [(7,)]

        with_line(arguments, story)

    def test_a_row_that_does_not_fit_is_told_apart(self, arguments: Mapping[str, Any]) -> None:
        async def story(one: Line) -> None:
            run(arguments, "CREATE TABLE t (n int PRIMARY KEY)")
            pid = await backend(one)
            twice = "INSERT INTO t VALUES (1), (1) RETURNING n"
            with pytest.raises(psycopg.IntegrityError):
                await one.execute(twice, {})
            with pytest.raises(psycopg.DataError):
                await one.execute("SELECT 1 / %(n)s::int", {"n": 0})
            assert await one.execute("SELECT n FROM t", {}) == []
            assert await backend(one) == pid, "no reason for another connection"

        with_line(arguments, story)


class TestFaults:
    def test_an_unreachable_database_is_a_503(self) -> None:
        async def story(one: Line) -> None:
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable) as refused:
                    await one.execute(BACKEND, {})
                assert "secret" not in f"{refused.value.cause}{refused.value.detail}"

        with_line({"host": "127.0.0.1", "port": 1, "user": "nobody", "password": "secret"}, story)

    def test_a_statement_that_fails_is_a_503_and_the_next_one_works(self, arguments: Mapping[str, Any]) -> None:
        async def story(one: Line) -> None:
            with pytest.raises(DatabaseUnavailable):
                await one.execute("SELECT * FROM nothing_of_this_name", {})
            assert await backend(one)

        with_line(arguments, story)

    def test_one_that_never_answers_is_a_503_and_the_next_one_works(
        self, arguments: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story(one: Line) -> None:
            pid = await backend(one)
            monkeypatch.setattr(hot_connection, "ANSWER_WITHIN", 0.05)
            with pytest.raises(DatabaseUnavailable):
                await one.execute("SELECT pg_sleep(30)", {})
            monkeypatch.undo()
            assert await backend(one) != pid
            end(arguments, pid)

        with_line(arguments, story)

    def test_a_cancelled_one_leaves_no_answer_to_the_next(self, arguments: Mapping[str, Any]) -> None:
        async def story(one: Line) -> None:
            pid = await backend(one)
            slow = asyncio.create_task(one.execute("SELECT pg_sleep(30)", {}))
            await asyncio.sleep(0.05)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            assert await backend(one) != pid

        with_line(arguments, story)

    def test_closing_ends_a_statement_under_way(self, arguments: Mapping[str, Any]) -> None:
        async def story(one: Line) -> None:
            pid = await backend(one)
            slow = asyncio.create_task(one.execute("SELECT pg_sleep(30)", {}))
            await asyncio.sleep(0.05)
            one.close()
            with pytest.raises(DatabaseUnavailable):
                await slow
            end(arguments, pid)

        with_line(arguments, story)


class TestReconnecting:
    def test_a_connection_that_died_in_use_costs_one_503(self, arguments: Mapping[str, Any]) -> None:
        async def story(one: Line) -> None:
            end(arguments, await backend(one))
            with pytest.raises(DatabaseUnavailable):
                await backend(one)
            assert await backend(one)

        with_line(arguments, story)

    def test_one_that_died_while_idle_costs_none(
        self, arguments: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story(one: Line) -> None:
            pid = await backend(one)
            monkeypatch.setattr(hot_connection, "PING_AFTER", -1.0)
            assert await backend(one) == pid
            end(arguments, pid)
            assert await backend(one) != pid

        with_line(arguments, story)

    def test_an_old_one_is_replaced(self, arguments: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(one: Line) -> None:
            pid = await backend(one)
            monkeypatch.setattr(hot_connection, "RENEWED_AFTER", -1.0)
            assert await backend(one) != pid

        with_line(arguments, story)
