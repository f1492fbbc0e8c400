"""The database: one engine, as many threads as pooled connections, and lines for the hot path.

A story is a plain function `story(session, …)`. It runs in one worker thread as one transaction, which is committed
before the caller gets the result. On SQLite `write` takes the write lock at once: a transaction that reads first and
then writes would fail there without waiting (SQLITE_BUSY_SNAPSHOT). The few statements of the hot path use a line
instead: a connection that the event loop drives (`hot_connection.py`).
"""

import asyncio
import contextlib
import functools
import itertools
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, LiteralString, ParamSpec, TypeVar

import psycopg
from sqlalchemy import ClauseElement, ColumnElement, Connection, Engine, ExceptionContext, create_engine, event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from app.platform.database_faults import Outage, outage
from app.platform.hot_connection import ANSWER_WITHIN, CLOCK, PING_AFTER, Line, Row
from app.platform.logs import log
from app.platform.pooler import BEGIN, OPENING, SHARED, UNSET, cause, connect_arguments, shares_sessions
from app.platform.problems import DatabaseUnavailable, Problem
from app.platform.settings import Pooler
from app.platform.tracing import NoTracing, Tracing
from app.platform.wakeups import Signals
from app.platform.write_faults import WriteFaults

if TYPE_CHECKING:
    import sqlite3

Password = Callable[[], str]
"""Makes the password of a new connection."""
P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")
V = TypeVar("V")

ROWS_REFUSED = (IntegrityError, DataError, psycopg.IntegrityError, psycopg.DataError)
"""What a row that breaks a constraint or does not fit its columns raises, in a story and on a line."""
POOL: Mapping[str, Any] = {"max_overflow": 0, "pool_timeout": 1}
_SIGNALS = "signals"
_LAST = "last"
SAID_EVERY = 60.0
"""Seconds before the same outage is logged again."""
SQLITE_BUSY_TIMEOUT = 2.5
"""Seconds to wait for another writer."""


class Database:
    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        password: Password | None = None,
        pooler: Pooler = "none",
        tracing: Tracing | None = None,
        info: Mapping[Any, Any] | None = None,
    ) -> None:
        """`info` becomes the stories' `Session.info`."""
        self.engine = make_engine(url, pool_size=pool_size, password=password, pooler=pooler)
        self._password = password
        self._pooler = pooler
        self._refused_for: str | None = None
        self._said: Outage | None = None
        self._said_at = 0.0
        self._examined = self.engine.dialect.name != "postgresql" or pooler == "transaction"
        self._tracing = tracing or NoTracing()
        self.signals = Signals()
        self.write_faults = WriteFaults()
        self._info = dict(info or {})
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="database")
        self._lines: list[Line] = []
        self._idle_lines: list[Line] = []
        # The event loop of Windows cannot watch the socket of psycopg.
        self.has_lines = self.engine.dialect.name == "postgresql" and sys.platform != "win32"

    async def on_line(self, statement: ClauseElement, parameters: Mapping[str, Any]) -> list[Row]:
        """The rows of one statement, which is a transaction of its own. Call it only where `has_lines` is true.

        The statement's text is cached, so build the statement once. Each concurrent call has its own line, so calls
        come from a `Batch`. Raises what `Line.execute` raises.
        """
        self._refuse_if_shared()
        if not self._idle_lines:
            self._lines.append(Line(self._connect_arguments(), self._password, pooler=self._pooler))
            self._idle_lines.append(self._lines[-1])
        line = self._idle_lines.pop()
        text, given = _compiled(statement)
        try:
            return await line.execute(text, {**given, **parameters})
        except DatabaseUnavailable as problem:
            self.write_faults.note(problem.__cause__)
            raise
        finally:
            self._idle_lines.append(line)

    async def read(self, story: Callable[Concatenate[Session, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `story`, which only reads, in a worker thread and returns its result."""
        with self._tracing.span("database", "client") as span:
            span.set("db.operation.name", "read")
            return await self._in_thread(functools.partial(self.run, "read", story, *args, **kwargs))

    async def write(self, story: Callable[Concatenate[Session, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `story` in a worker thread and returns its result after its transaction is committed."""
        with self._tracing.span("database", "client") as span:
            span.set("db.operation.name", "write")
            return await self._in_thread(functools.partial(self.run, "write", story, *args, **kwargs))

    async def write_unhurried(
        self, story: Callable[Concatenate[Session, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`write` for a job, without a deadline: no request waits for it."""
        call = functools.partial(self.run, "write", story, *args, **kwargs)
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, call))

    def run(
        self,
        mode: Literal["read", "write"],
        story: Callable[Concatenate[Session, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Runs `story` in this thread. Raises `DatabaseUnavailable` for every operational fault."""
        self._refuse_if_shared()
        try:
            with self._transaction(mode) as session:
                return story(session, *args, **kwargs)
        except (IntegrityError, DataError):
            raise
        except (DBAPIError, PoolTimeout, OSError) as error:
            if mode == "write":
                self.write_faults.note(error)
            raise DatabaseUnavailable(cause=cause(error)) from error

    async def examine(self) -> None:
        """Raises `DatabaseUnavailable` while a pooler shares sessions that the setting takes for the service's own.

        Then every story and line raises it too: one would run what another has prepared. It looks until all is well.
        """
        if not self._examined:
            await self._in_thread(self._look_for_a_pooler)
            self._refuse_if_shared()
            self._examined = True

    def outage(self, problem: Problem) -> Outage | None:
        """What keeps every statement from working, by a problem that a call of this database raised; else None."""
        return outage(problem, self.engine.url)

    def complain(self, why: Problem | Outage | None) -> bool:
        """Logs in one sentence what keeps every statement from working, the same at most once a minute.

        Returns False for a fault of another kind, which the caller logs.
        """
        found = self.outage(why) if isinstance(why, Problem) else why
        if found is None:
            return False
        if found != self._said or CLOCK.monotonic() - self._said_at >= SAID_EVERY:
            self._said, self._said_at = found, CLOCK.monotonic()
            log.error("database_unusable", reason=found.text, repair=found.repair)
        return True

    def _look_for_a_pooler(self) -> None:
        try:
            shared = shares_sessions(self._connect_arguments(with_password=True))
        except psycopg.Error as error:
            raise DatabaseUnavailable(cause=cause(error)) from error
        if shared and self._refused_for is None:
            log.error("database_pooler_unset", mend=SHARED)
        self._refused_for = SHARED if shared else None

    def _refuse_if_shared(self) -> None:
        if self._refused_for is not None:
            raise DatabaseUnavailable(cause=self._refused_for)

    def _connect_arguments(self, *, with_password: bool = False) -> dict[str, Any]:
        url = self.engine.url
        _, arguments = self.engine.dialect.create_connect_args(url)
        own = connect_arguments(url, self._pooler)
        if with_password and self._password is not None:
            own["password"] = self._password()
        return {**arguments, **own}

    @contextlib.contextmanager
    def _transaction(self, mode: Literal["read", "write"]) -> Iterator[Session]:
        with (
            self._connect(mode) as connection,
            Session(connection, expire_on_commit=False, info=self._info) as session,
        ):
            try:
                yield session
            except Problem as problem:
                if problem.keeps_writes:
                    self._commit(session)
                raise
            self._commit(session)

    def _commit(self, session: Session) -> None:
        for work in session.info.pop(_LAST, ()):
            work(session)
        session.commit()
        for name in session.info.pop(_SIGNALS, ()):
            self.signals.tell(name)

    def _connect(self, mode: Literal["read", "write"]) -> Connection:
        connection = self.engine.connect()
        if mode == "read" and connection.dialect.name == "postgresql":
            # READ COMMITTED, the default, gives each statement its own snapshot anyway. This saves BEGIN and COMMIT.
            return connection.execution_options(isolation_level="AUTOCOMMIT")
        return connection.execution_options(tokenvend_mode=mode)

    async def _in_thread(self, call: Callable[[], R]) -> R:
        work = asyncio.get_running_loop().run_in_executor(self._threads, call)
        try:
            # Shielded: the transaction ends with its own commit or rollback even if its caller is cancelled.
            async with asyncio.timeout(ANSWER_WITHIN):
                return await asyncio.shield(work)
        except TimeoutError:
            raise DatabaseUnavailable(cause=f"no answer within {ANSWER_WITHIN} s") from None

    @property
    def connections_in_use(self) -> int:
        pool = self.engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    @property
    def waiting(self) -> int:
        """Stories that wait for a thread."""
        return self._threads._work_queue.qsize()  # noqa: SLF001 - no public attribute has it

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self._threads.shutdown(cancel_futures=True)  # waits, because a connection in use would stay open
        self.engine.dispose()


@functools.cache
def _compiled(statement: ClauseElement) -> tuple[str, Mapping[str, Any]]:
    """The statement's text for psycopg, and the parameters that the statement holds itself."""
    compiled = statement.compile(dialect=psycopg_dialect.dialect())  # type: ignore[no-untyped-call]
    return str(compiled), compiled.params


def signal_after_commit(session: Session, name: str) -> None:
    """Tells `Database.signals` when the transaction is committed, and not if it is rolled back."""
    session.info.setdefault(_SIGNALS, set()).add(name)


def do_before_commit(session: Session, work: Callable[[Session], None]) -> None:
    """Does `work` as the last of the transaction, once. So what it locks is locked for a moment, and after all else."""
    session.info.setdefault(_LAST, {})[work] = None


def make_engine(
    url: str,
    *,
    pool_size: int,
    busy_timeout: float = SQLITE_BUSY_TIMEOUT,
    password: Password | None = None,
    pooler: Pooler = "none",
) -> Engine:
    """`password` makes PostgreSQL's passwords if the URL has none."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            pool_recycle=1800,
            hide_parameters=True,
            connect_args=connect_arguments(parsed, pooler),
            isolation_level="AUTOCOMMIT" if pooler == "transaction" else None,
            **POOL,
        )
        if pooler == "transaction":
            event.listen(engine, "begin", _begin_with_limits)
        else:
            event.listen(engine, "connect", functools.partial(_open, OPENING[pooler]))
        event.listen(engine, "do_execute", _plan_anew)
        event.listen(engine, "checkin", _note_idle)
        event.listen(engine, "checkout", _ping_if_idle)
        event.listen(engine, "handle_error", _leave_a_standby)
        if password is not None:
            event.listen(engine, "do_connect", functools.partial(_give_password, password))
        return engine
    engine = create_engine(
        parsed,
        pool_size=pool_size,
        hide_parameters=True,
        connect_args={"timeout": busy_timeout, "check_same_thread": False},
        **POOL,
    )
    if (file := sqlite_file(parsed)) is not None:
        event.listen(engine, "do_connect", functools.partial(_make_private, file))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


PLANNED_ANEW = "planned_anew"
"""An execution option of statements whose best plan depends on the values that they are given."""


def _plan_anew(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Executes a statement `PLANNED_ANEW`. For one that is prepared PostgreSQL keeps one plan, whatever the values.

    For a search that plan reads users from the newest on, which finds a common text at once and takes seconds for a
    rare one.
    """
    if context is None or not context.execution_options.get(PLANNED_ANEW):
        return False
    cursor.execute(statement, parameters, prepare=False)
    return True


def _begin_with_limits(connection: Connection) -> None:
    """The driver begins nothing here: each transaction says BEGIN and its limits in one round trip, a read's too."""
    connection.exec_driver_sql(BEGIN)


def _open(statement: LiteralString, connection: psycopg.Connection[Row], _record: object) -> None:
    try:
        connection.autocommit = True
        opened = connection.execute(statement).fetchone()
        connection.autocommit = False
    except psycopg.Error:
        connection.close()
        raise
    if not (opened and opened[0]):
        connection.close()
        raise DatabaseUnavailable(cause=UNSET)


def _note_idle(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = CLOCK.monotonic()


def _ping_if_idle(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Replaces a connection that died while it was idle. A ping before each use would cost a fifth of a look-up."""
    if CLOCK.monotonic() - record.info.get("idle_since", CLOCK.monotonic()) < PING_AFTER:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except connection.OperationalError as error:
        raise DisconnectionError from error


def _leave_a_standby(context: ExceptionContext) -> None:
    """Drops the whole pool if the server is read-only: after a failover all connections lead to the old primary."""
    if isinstance(context.original_exception, psycopg.errors.ReadOnlySqlTransaction):
        context.is_disconnect = True


def _give_password(password: Password, _dialect: Any, _record: Any, _args: Any, arguments: dict[str, Any]) -> None:
    arguments["password"] = password()


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite database; None for another one."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def _make_private(file: Path, _dialect: Any, _record: Any, _args: Any, _arguments: Any) -> None:
    """Makes the file, and no folder. It holds hashes and addresses; SQLite's other files get its mode."""
    if not file.exists():
        with contextlib.suppress(OSError):  # SQLite names the fault when it connects
            file.touch(mode=0o600)


def _prepare_sqlite(connection: "sqlite3.Connection", _record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions, not the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    mode = connection.get_execution_options().get("tokenvend_mode", "write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if mode == "write" else "BEGIN")


def _insert_into(session: Session, model: type[DeclarativeBase]) -> Any:
    """An INSERT of this database's dialect, which has ON CONFLICT."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(model)


def insert_if_absent(session: Session, model: type[DeclarativeBase], values: Mapping[str, Any]) -> bool:
    """Inserts one row in one statement. Returns False if a row with the same unique value exists."""
    keys = inspect(model).primary_key
    statement = _insert_into(session, model).values(**values).on_conflict_do_nothing().returning(*keys)
    return session.execute(statement).first() is not None


def upsert(
    session: Session,
    model: type[DeclarativeBase],
    values: Mapping[str, Any],
    changes: Callable[[Any], Mapping[str, Any]],
) -> None:
    """Inserts one row. If its key exists, changes that row by `changes(the row that was to be inserted)` instead."""
    keys = inspect(model).primary_key
    statement = _insert_into(session, model).values(**values)
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes(statement.excluded)))


def claim_row(
    session: Session,
    model: type[DeclarativeBase],
    values: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    where: ColumnElement[bool],
) -> bool:
    """Inserts one row. If its key exists and `where` holds for that row, changes it; if `where` fails, returns False.

    It is one statement, so each of several concurrent calls sees what the earlier ones wrote.
    """
    keys = inspect(model).primary_key
    statement = _insert_into(session, model).values(**values)
    statement = statement.on_conflict_do_update(index_elements=keys, set_=changes, where=where)
    return session.execute(statement.returning(*keys)).first() is not None


def count_up(session: Session, counter: InstrumentedAttribute[int], key: Mapping[str, Any], by: int = 1) -> int:
    """Adds to a counter in one statement, and returns its new value. A counter that has no row yet is at 0."""
    model: Any = counter.class_
    statement = _insert_into(session, model).values({**key, counter.key: by})
    statement = statement.on_conflict_do_update(
        index_elements=inspect(model).primary_key, set_={counter.key: counter + by}
    )
    return int(session.execute(statement.returning(counter)).scalar_one())


class Batch(Generic[K, V]):
    """Collects the calls that arrive while the database works, and serves them with one statement or commit.

    `load` gets the waiting keys and returns their values; a key that it leaves out has None. A lone caller is served at
    once. Each caller's `ANSWER_WITHIN` counts from its own call, even behind a `load` that does not end.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Awaitable[Mapping[K, V | None]]],
        *,
        most: int = 200,
    ) -> None:
        self._load = load
        self._most = most
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._asked: deque[tuple[float, asyncio.Future[V | None]]] = deque()
        """Callers' deadlines and futures, earliest first. `get` removes answered ones from the front."""
        self._watch: asyncio.TimerHandle | None = None
        self._worker: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The value of `key`. Raises what `load` raises, and `DatabaseUnavailable` at the caller's deadline."""
        return await self.ask(key)

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """The future of what `get` returns or raises, for a caller that is no coroutine."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        self._waiting.setdefault(key, []).append(future)
        while self._asked and self._asked[0][1].done():
            self._asked.popleft()
        self._asked.append((loop.time() + ANSWER_WITHIN, future))
        if self._watch is None:  # one timer for all: a timer for each caller would cost more than the rest
            self._watch = loop.call_at(self._asked[0][0], self._refuse_late, loop)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return future

    def _refuse_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = None
        while self._asked:
            deadline, future = self._asked[0]
            if not future.done():
                if deadline > loop.time():
                    self._watch = loop.call_at(deadline, self._refuse_late, loop)
                    return
                future.set_exception(DatabaseUnavailable(cause=f"no answer within {ANSWER_WITHIN} s"))
            self._asked.popleft()

    def _take(self) -> dict[K, list[asyncio.Future[V | None]]]:
        """The keys for the next call, without those that nobody waits for any more."""
        keys = list(itertools.islice(self._waiting, self._most))
        waiting = ((key, [future for future in self._waiting.pop(key) if not future.done()]) for key in keys)
        return {key: futures for key, futures in waiting if futures}

    async def _work(self) -> None:
        while self._waiting:
            if not (taken := self._take()):
                continue
            try:
                found = await self._load(list(taken))
            except BaseException as error:  # noqa: BLE001 - every waiter gets it
                for future in itertools.chain.from_iterable(taken.values()):
                    if not future.done():
                        future.set_exception(error)
            else:
                for key, futures in taken.items():
                    value = found.get(key)
                    for future in futures:
                        if not future.done():  # the future of a cancelled caller is
                            future.set_result(value)
