"""What is done for each sign-in, refresh and vend finds its rows by index: a table's size has no say in it."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text

from tests.bench.million import Crowd
from tests.support.databases import PostgresDatabases
from tests.support.engine import eventually

PEOPLE = 3_000
"""Where PostgreSQL itself would rather use an index than read a table for one row."""
TIMES = 20
"""From the sixth on a statement is prepared, and may get another plan."""
TABLES = ("users", "sessions", "refresh_tokens", "issued_credentials", "audit_events")
STORIES = (
    "sign-in, the account",
    "sign-in, the session begun",
    "refresh",
    "refresh, the first in an hour",
    "vend, the session looked up",
    "vend, the ledger's rows",
)
OTHERS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()")
COUNTERS = text(
    "SELECT relname, coalesce(seq_scan, 0), coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) "
    "FROM pg_stat_user_tables"
)


@pytest.fixture(scope="module")
def crowd(postgres_databases: PostgresDatabases) -> Iterator[tuple[Crowd, str]]:
    url = postgres_databases.create()
    loaded = Crowd(url, PEOPLE)
    loaded.load(lambda _: None)
    yield loaded, url
    postgres_databases.drop(url)


def counters(url: str) -> dict[str, tuple[int, int]]:
    """By table: how often it was read from end to end, and how many rows were read of it at all.

    A connection leaves what it counted behind when it ends, which is a little after it was closed.
    """
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            assert eventually(lambda: connection.scalar(OTHERS) == 0)
            return {name: (scans, rows) for name, scans, rows in connection.execute(COUNTERS) if name in TABLES}
    finally:
        engine.dispose()


class TestLookUps:
    @pytest.mark.parametrize("story", STORIES)
    def test_no_table_is_read_for_the_rows_of_one_user(self, crowd: tuple[Crowd, str], story: str) -> None:
        """By PostgreSQL's own counters."""
        loaded, url = crowd
        before = counters(url)
        with loaded.running() as runtime:

            async def tell() -> None:
                for number in range(TIMES):
                    await loaded.stories(runtime)[story](number * 7)

            asyncio.run(tell())
        after = counters(url)
        read = {table: (after[table][0] - before[table][0], after[table][1] - before[table][1]) for table in TABLES}
        assert {table: scans for table, (scans, _) in read.items() if scans} == {}
        assert TIMES <= sum(rows for _, rows in read.values()) <= 10 * TIMES

    def test_these_are_all_that_the_benchmark_takes(self, crowd: tuple[Crowd, str]) -> None:
        loaded, _ = crowd
        with loaded.running() as runtime:
            of_one_user = [name for name in loaded.stories(runtime) if not name.startswith("search")]
            assert tuple(of_one_user) == STORIES
