"""Migrations: the same tables as the models, both ways, on both engines, whoever runs them and however they end."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from app.records.migrate import HEAD, configuration, upgrade
from tests.conftest import DATABASES
from tests.support.databases import PostgresDatabases


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
    url = databases.create_empty()
    yield url
    databases.drop(url)


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


class TestHead:
    def test_is_the_newest_migration(self) -> None:
        script = ScriptDirectory.from_config(configuration("sqlite://"))
        assert script.get_heads() == [HEAD]

    def test_sorts_after_all_others(self) -> None:
        """By which a running version tells newer tables from older ones."""
        script = ScriptDirectory.from_config(configuration("sqlite://"))
        newest_first = [revision.revision for revision in script.walk_revisions()]
        assert newest_first == sorted(newest_first, reverse=True)


class TestMigrations:
    def test_make_what_the_models_say(self, empty_url: str) -> None:
        config = configuration(empty_url)
        command.upgrade(config, "head")
        command.check(config)
        assert {"users", "sessions", "issued_credentials"} <= tables(empty_url)

    def test_go_down_and_up_again(self, empty_url: str) -> None:
        config = configuration(empty_url)
        command.upgrade(config, "head")
        before = tables(empty_url)
        command.downgrade(config, "base")
        assert tables(empty_url) == set()
        command.upgrade(config, "head")
        assert tables(empty_url) == before

    @pytest.mark.all
    def test_of_two_hosts_at_once_one_waits(self, empty_url: str) -> None:
        code = "import sys; from app.records.migrate import upgrade;upgrade(sys.argv[1])"

        def run(_host: int) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [sys.executable, "-c", code, empty_url], capture_output=True, text=True, timeout=60, check=False
            )

        with ThreadPoolExecutor(3) as pool:
            done = list(pool.map(run, range(3)))
        assert [process.returncode for process in done] == [0, 0, 0], [process.stderr for process in done]
        assert "users" in tables(empty_url)

    @pytest.mark.slow("it starts a process")
    def test_a_killed_one_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """SQLite strands half-made tables unless DDL is part of the transaction."""
        database = tmp_path / "killed.db"
        code = (
            "import sys, time; from alembic import op; from app.records.migrate import upgrade;"
            "create = op.create_table; made = []\n"
            "def slow(*a, **k):\n"
            "    result = create(*a, **k); made.append(a[0])\n"
            "    if len(made) == 3: print('half', flush=True); time.sleep(60)\n"
            "    return result\n"
            "op.create_table = slow\n"
            "upgrade(sys.argv[1])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, f"sqlite:///{database}"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
        process.wait()
        process.stdout.close()
        with sqlite3.connect(database) as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
        connection.close()
        upgrade(f"sqlite:///{database}")
        assert "users" in tables(f"sqlite:///{database}")
