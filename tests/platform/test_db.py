"""The database layer: faults become 503, refusals roll back or keep their writes, look-ups share a statement."""

import asyncio
import sqlite3
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.platform import db
from app.platform.db import Batch, Database, make_engine
from app.platform.problems import DatabaseUnavailable, InvalidToken, NotFound
from app.records.migrate import upgrade
from tests.support.clock import ManualClock
from tests.support.databases import PostgresDatabases, debian_postgresql
from tests.support.service import Service, running_service


@pytest.fixture
def database(database_url: str) -> Database:
    return Database(database_url, pool_size=2)


def add_key(session: Session, sequence: int) -> None:
    session.execute(
        text(
            "INSERT INTO signing_keys (sequence, kid, private_key_encrypted, public_jwk, created_at, signs_from) "
            "VALUES (:sequence, :kid, :key, '{}', :at, :at)"
        ),
        {"sequence": sequence, "kid": str(sequence), "key": b"", "at": "2026-01-01 00:00:00"},
    )


def count(session: Session) -> int:
    return int(session.execute(text("SELECT count(*) FROM signing_keys")).scalar_one())


@pytest.mark.both_databases
class TestTransactions:
    def test_a_story_is_committed_when_it_returns(self, database: Database) -> None:
        database.run("write", add_key, 1)
        assert database.run("read", count) == 1
        database.close()

    def test_a_refusal_rolls_back(self, database: Database) -> None:
        def refuse(session: Session) -> None:
            add_key(session, 1)
            raise NotFound

        with pytest.raises(NotFound):
            database.run("write", refuse)
        assert database.run("read", count) == 0
        database.close()

    def test_a_refusal_that_keeps_its_writes_commits(self, database: Database) -> None:
        def refuse(session: Session) -> None:
            add_key(session, 1)
            raise InvalidToken(keeps_writes=True)

        with pytest.raises(InvalidToken):
            database.run("write", refuse)
        assert database.run("read", count) == 1
        database.close()

    def test_a_failed_commit_is_not_taken_for_done(self, service: Service) -> None:
        """The answer leaves after the commit: when that fails, the client does not get a 201."""
        connection = service.runtime.platform.database.engine.raw_connection()
        if not isinstance(connection.driver_connection, sqlite3.Connection):
            connection.close()
            service.sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'"
            )
            service.sql(
                "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        else:
            connection.close()
            service.sql("PRAGMA query_only = 0")
            service.sql("CREATE TRIGGER refuse AFTER INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no'); END")
        answer = service.register("ada@example.org")
        assert answer.status_code in (500, 503)
        assert service.sql("SELECT count(*) FROM users") == [(0,)]


@pytest.mark.both_databases
class TestFaults:
    def test_an_unreachable_database_is_a_503(self) -> None:
        database = Database("postgresql+psycopg://nobody:secret@127.0.0.1:1/none", pool_size=1)
        with pytest.raises(DatabaseUnavailable) as refused:
            database.run("read", count)
        assert "secret" not in f"{refused.value.cause}{refused.value.detail}"
        database.close()

    def test_a_database_without_tables_is_a_503(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path / 'empty.db'}", pool_size=1)
        with pytest.raises(DatabaseUnavailable):
            database.run("read", count)
        database.close()

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_one_that_became_a_standby_is_left_by_the_whole_pool(self, database: Database) -> None:
        """Section 5, failover read-only: whoever writes next does so elsewhere."""

        def backends(read_only: str) -> set[int]:
            with database.engine.connect() as one, database.engine.connect() as other:
                for connection in (one, other):
                    connection.execute(text(f"SET default_transaction_read_only = {read_only}"))
                    connection.commit()
                return {connection.execute(text("SELECT pg_backend_pid()")).scalar_one() for connection in (one, other)}

        before = backends("on")
        with pytest.raises(DatabaseUnavailable) as refused:
            database.run("write", add_key, 1)
        assert refused.value.cause == "psycopg.errors.ReadOnlySqlTransaction"
        database.run("write", add_key, 1)
        assert not backends("off") & before
        database.close()

    def test_one_that_never_answers_is_a_503(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(db, "ANSWER_WITHIN", 0.05)
        released = asyncio.Event()

        async def ask() -> None:
            loop = asyncio.get_running_loop()

            def stuck(_session: Session) -> None:
                asyncio.run_coroutine_threadsafe(released.wait(), loop).result()

            with pytest.raises(DatabaseUnavailable):
                await database.read(stuck)
            released.set()

        asyncio.run(ask())
        database.close()

    def test_a_locked_sqlite_is_a_503(self, tmp_path: Path, sqlite_databases: object) -> None:
        url = sqlite_databases.create(tmp_path)  # type: ignore[attr-defined]
        engine = db.make_engine(url, pool_size=1, busy_timeout=0.05)
        database = Database(url, pool_size=1)
        database.engine = engine
        holder = sqlite3.connect(engine.url.database or "", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable):
            database.run("write", add_key, 1)
        holder.execute("ROLLBACK")
        database.run("write", add_key, 1)
        holder.close()
        database.close()


class TestBatch:
    def test_what_arrives_meanwhile_shares_the_next_look_up(self) -> None:
        async def story() -> list[list[int]]:
            asked: list[list[int]] = []
            gate = asyncio.Event()

            async def load(keys: Sequence[int]) -> Mapping[int, str]:
                asked.append(sorted(keys))
                await gate.wait()
                return {key: str(key) for key in keys if key != 4}

            batch = Batch(load)
            first = asyncio.create_task(batch.get(1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            later = [asyncio.create_task(batch.get(key)) for key in (2, 3, 3, 4)]
            await asyncio.sleep(0)
            gate.set()
            assert await first == "1"
            assert [await task for task in later] == ["2", "3", "3", None]
            return asked

        assert asyncio.run(story()) == [[1], [2, 3, 4]]

    def test_a_fault_reaches_everybody_who_waits_and_is_not_kept(self) -> None:
        async def story() -> None:
            faults = [DatabaseUnavailable()]

            async def load(keys: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, int]:
                if faults:
                    raise faults.pop()
                return dict.fromkeys(keys, 1)

            batch = Batch(load)
            key = uuid.uuid4()
            answers = await asyncio.gather(batch.get(key), batch.get(key), return_exceptions=True)
            assert [type(answer) for answer in answers] == [DatabaseUnavailable, DatabaseUnavailable]
            assert await batch.get(key) == 1

        asyncio.run(story())

    def test_a_caller_that_hangs_up_takes_nothing_from_the_others(self) -> None:
        async def story() -> None:
            gate = asyncio.Event()

            async def load(keys: Sequence[int]) -> Mapping[int, int]:
                await gate.wait()
                return {key: key for key in keys}

            batch = Batch(load)
            leaving, staying = asyncio.create_task(batch.get(1)), asyncio.create_task(batch.get(1))
            await asyncio.sleep(0)
            leaving.cancel()
            gate.set()
            assert await staying == 1

        asyncio.run(story())


class TestDeadlineOfACaller:
    """OP4: it counts from when the caller asked, whatever is in front."""

    def test_holds_behind_a_call_that_does_not_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(db, "ANSWER_WITHIN", 0.05)

        async def story() -> None:
            gate, asked = asyncio.Event(), []

            async def load(keys: Sequence[int]) -> Mapping[int, int]:
                asked.append(list(keys))
                await gate.wait()
                return {key: key for key in keys}

            batch = Batch(load)
            first = asyncio.create_task(batch.get(1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            behind = [asyncio.create_task(batch.get(key)) for key in (2, 2, 3)]
            answers = await asyncio.gather(first, *behind, return_exceptions=True)
            assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 4
            assert asked == [[1]], "all were refused while the first call was still under way"
            monkeypatch.undo()
            gate.set()
            assert await batch.get(4) == 4
            assert asked == [[1], [4]], "nobody waited for the others any more"

        asyncio.run(story())

    def test_is_not_that_of_the_call_that_serves_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One who asked before the call began is refused before the call is late."""
        monkeypatch.setattr(db, "ANSWER_WITHIN", 0.1)

        async def story() -> list[str]:
            gates = {1: asyncio.Event(), 2: asyncio.Event()}
            happened = []

            async def load(keys: Sequence[int]) -> Mapping[int, int]:
                began = asyncio.get_running_loop().time()
                await gates[min(keys)].wait()
                happened.append("late" if asyncio.get_running_loop().time() - began >= db.ANSWER_WITHIN else "in time")
                return {key: key for key in keys}

            async def get(key: int) -> None:
                try:
                    await batch.get(key)
                except DatabaseUnavailable:
                    happened.append(f"{key} refused")
                else:
                    happened.append(f"{key} answered")

            batch = Batch(load)
            loop = asyncio.get_running_loop()
            first = asyncio.create_task(get(1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            second = asyncio.create_task(get(2))
            loop.call_later(0.05, gates[1].set)
            loop.call_later(0.2, gates[2].set)
            await asyncio.gather(first, second)
            await asyncio.wait({batch._worker} if batch._worker else set())
            return happened

        assert asyncio.run(story()) == ["in time", "1 answered", "2 refused", "late"]

    def test_costs_one_timer_for_all(self) -> None:
        async def story() -> None:
            async def load(keys: Sequence[int]) -> Mapping[int, int]:
                return {key: key for key in keys}

            batch = Batch(load)
            for key in range(1000):
                assert await batch.get(key) == key
            assert len(batch._asked) == 1
            watch = batch._watch
            await batch.get(1)
            assert batch._watch is watch

        asyncio.run(story())


class TestIdleConnections:
    def test_one_that_died_meanwhile_is_replaced_unseen(
        self, postgres_databases: PostgresDatabases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server was restarted, or a firewall forgot the connection, while nobody used it."""
        clock = ManualClock()
        monkeypatch.setattr(db, "CLOCK", clock)
        url = postgres_databases.create()
        database, other = Database(url, pool_size=1), Database(url, pool_size=1)
        backend = database.run("read", lambda session: session.scalar(text("SELECT pg_backend_pid()")))
        other.run("read", lambda session: session.scalar(text(f"SELECT pg_terminate_backend({backend}, 2000)")))
        clock.advance(seconds=db.PING_AFTER)
        assert database.run("read", count) == 0
        database.close()
        other.close()
        postgres_databases.drop(url)


IN_SCHEMA = "options=-csearch_path%3Dphotos"


def is_at_home(url: str) -> None:
    """All tables are in the schema `photos`, and the service works with them."""
    engine = make_engine(url, pool_size=1)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA photos"))
    upgrade(url)
    upgrade(url)
    with engine.connect() as connection:
        tables = (
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        found = connection.execute(text(tables)).all()
    engine.dispose()
    assert {schema for schema, _ in found} == {"photos"}
    assert {"alembic_version", "users", "issued_credentials"} <= {table for _, table in found}
    with running_service(url) as service:
        assert service.client.get("/readyz").status_code == 200
        assert service.device().vend().status_code == 200
        assert service.staff().get("/v1/admin/users?query=example").status_code == 200


@pytest.mark.slow("migrations")
class TestSearchPath:
    def test_of_the_url_says_where_the_tables_are(self, postgres_databases: PostgresDatabases) -> None:
        url = postgres_databases.create_empty()
        is_at_home(f"{url}&{IN_SCHEMA}")
        postgres_databases.drop(url)

    @pytest.mark.all
    def test_need_not_lead_to_the_extension(self) -> None:
        """pg_trgm is in `public`, where an administrator has put it."""
        with debian_postgresql() as url:
            engine = make_engine(url, pool_size=1)
            with engine.begin() as connection:
                connection.execute(text("CREATE EXTENSION pg_trgm"))
            is_at_home(f"{url}&{IN_SCHEMA}")
            with engine.connect() as connection:
                index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_users_text'"
                assert "ON photos.users USING gin" in connection.execute(text(index)).scalar_one()
            engine.dispose()


def says(url: str, *parameters: str) -> list[tuple[str, ...]]:
    """What PostgreSQL says of them to a story, and to a line."""
    database = Database(url, pool_size=1)
    asked = text("SELECT " + ", ".join(f"current_setting('{parameter}')" for parameter in parameters))
    found = [
        tuple(database.run("read", lambda session: session.execute(asked).one())),
        *asyncio.run(database.on_line(asked, {})),
    ]
    database.close()
    return found


class TestUrl:
    """What the operator says of the connection is kept, and wins over what the service would say."""

    @pytest.fixture
    def url(self, postgres_databases: PostgresDatabases) -> Iterator[str]:
        made = postgres_databases.create()
        yield made
        postgres_databases.drop(made)

    def test_has_defaults(self, url: str) -> None:
        limits = ("application_name", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        assert says(url, *limits) == [("tokenvend", "2500ms", "2s", "10s")] * 2

    def test_options_join_those_of_the_service(self, url: str) -> None:
        asked = ("search_path", "statement_timeout", "lock_timeout")
        assert says(f"{url}&{IN_SCHEMA}", *asked) == [("photos", "2500ms", "2s")] * 2
        longer = f"{url}&options=-c%20statement_timeout%3D9s%20-c%20search_path%3Da,b"
        assert says(longer, *asked) == [("a,b", "9s", "2s")] * 2
        twice = f"{url}&options=-c%20statement_timeout%3D9s&options=-csearch_path%3Da"
        assert says(twice, *asked) == [("a", "9s", "2s")] * 2

    def test_options_of_the_environment_do_too(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere")
        assert says(url, "search_path", "lock_timeout") == [("elsewhere", "2s")] * 2
        assert says(f"{url}&{IN_SCHEMA}", "search_path", "lock_timeout") == [("photos", "2s")] * 2

    def test_a_name_is_kept(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert says(f"{url}&application_name=photos-eu", "application_name") == [("photos-eu",)] * 2
        monkeypatch.setenv("PGAPPNAME", "of the environment")
        assert says(url, "application_name") == [("of the environment",)] * 2

    def test_what_libpq_knows_reaches_it(self) -> None:
        given = {
            "connect_timeout": "7",
            "sslmode": "verify-full",
            "sslrootcert": "system",
            "keepalives_idle": "20",
            "tcp_user_timeout": "3000",
            "target_session_attrs": "read-write",
            "options": "endpoint=ep-cool-darkness-123456",
        }
        url = make_url("postgresql+psycopg://ada@example.org/photos").set(query=given)
        engine, seen = make_engine(url.render_as_string(), pool_size=1), []

        def note(_dialect: object, _record: object, _arguments: object, options: dict[str, object]) -> None:
            seen.append(dict(options))
            raise ConnectionError

        event.listen(engine, "do_connect", note)
        with pytest.raises(ConnectionError):
            engine.connect()
        assert given.items() - {("options", given["options"])} <= seen[0].items()
        assert str(seen[0]["options"]).endswith(" endpoint=ep-cool-darkness-123456")


class TestSqliteFile:
    def test_is_its_owners_alone(self, tmp_path: Path) -> None:
        """Addresses and password hashes are nobody else's on the machine; -wal and -shm too."""
        (tmp_path / "new").mkdir()
        file = tmp_path / "new" / "tokenvend.db"
        engine = make_engine(f"sqlite:///{file}", pool_size=1)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
        engine.dispose()
        assert len(modes) == 3
        assert set(modes.values()) == {0o600}


def test_a_password_may_hold_any_sign(postgres_databases: PostgresDatabases) -> None:
    """Alembic's configuration takes a per cent sign for the begin of a name."""
    url = make_url(postgres_databases.create_empty()).set(password="50%/@:ü%(here)s")
    upgrade(url.render_as_string(hide_password=False))
    database = Database(url.render_as_string(hide_password=False), pool_size=1)
    assert database.run("read", count) == 0
    database.close()
