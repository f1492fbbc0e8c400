"""A connection to PostgreSQL that the event loop drives itself, for the few statements of the hot path.

A look-up with SQLAlchemy in a thread takes six times the processor time, and switching threads takes longer than the
statement. All other statements run in the threads of `db.py`.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection

from app.platform.clock import SystemClock
from app.platform.pooler import BEGIN, OPENING, UNSET, cause
from app.platform.problems import DatabaseUnavailable
from app.platform.settings import Pooler

ANSWER_WITHIN = 3.0
"""Seconds after which a caller gets a 503 if the database has not answered. A frozen peer never answers."""
PING_AFTER = 5.0
"""Seconds that a connection may be idle and still be used without a ping."""
RENEWED_AFTER = 1800.0
"""Seconds that a connection may last, because a proxy in front of the database may have moved."""
CLOCK = SystemClock()

Row = tuple[Any, ...]


class Line:
    """A connection for one statement at a time. Each is a transaction of its own, committed before its rows return."""

    def __init__(
        self, arguments: Mapping[str, Any], password: Callable[[], str] | None = None, *, pooler: Pooler = "none"
    ) -> None:
        """`arguments` go to psycopg's `connect`. If they have no password, `password` makes one for each connection.

        The line connects on first use, and again after every fault.
        """
        self._arguments = arguments
        self._password = password
        self._pooler = pooler
        self._connection: AsyncConnection[Row] | None = None
        self._opened_at = self._used_at = 0.0
        self._busy = False

    async def execute(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        """The rows of the statement.

        Raises psycopg's IntegrityError and DataError, and `DatabaseUnavailable` for every operational fault.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_WITHIN
        overdue = loop.call_at(deadline, self._cut)
        self._busy = True
        try:
            connection = await self._trusted(deadline)
            if self._pooler == "transaction":
                # Three round trips. A pipeline would take one, but not every pooler bears it (supavisor before 2.10).
                await connection.execute(BEGIN)
                cursor = await connection.execute(statement, parameters, binary=True)
                await connection.commit()
            else:
                cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
            rows = await cursor.fetchall()
        except (psycopg.IntegrityError, psycopg.DataError):
            if self._pooler == "transaction":
                self._discard()  # with the transaction that failed
            raise
        except (psycopg.Error, OSError) as error:
            self._discard()
            raise DatabaseUnavailable(cause=cause(error)) from error
        except BaseException:  # cancelled: the connection may still hold the old answer
            self._discard()
            raise
        else:
            return rows
        finally:
            overdue.cancel()
            self._busy = False
            self._used_at = CLOCK.monotonic()

    def close(self) -> None:
        if self._busy:
            self._cut()  # the running `execute` fails and discards the connection
        else:
            self._discard()

    async def _trusted(self, deadline: float) -> AsyncConnection[Row]:
        """The connection, or a new one if there is none, or if it is old or died while it was idle."""
        now = CLOCK.monotonic()
        if self._connection is not None:
            young = now - self._opened_at < RENEWED_AFTER
            if young and (now - self._used_at < PING_AFTER or await self._answers(self._connection)):
                return self._connection
            self._discard()
        async with asyncio.timeout_at(deadline):
            arguments = dict(self._arguments)
            if self._password is not None:
                arguments["password"] = await asyncio.to_thread(self._password)
            self._connection = await AsyncConnection.connect(**arguments, autocommit=True)
            if opening := OPENING.get(self._pooler):
                opened = await (await self._connection.execute(opening)).fetchone()
                if not (opened and opened[0]):
                    self._discard()
                    raise DatabaseUnavailable(cause=UNSET)
        self._opened_at = now
        return self._connection

    @staticmethod
    async def _answers(connection: AsyncConnection[Row]) -> bool:
        try:
            await connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def _cut(self) -> None:
        """Shuts down the socket while a statement waits for its answer. Cancelling would wait for the server too."""
        if self._connection is not None and not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.pgconn.socket)) as same:
                same.shutdown(socket.SHUT_RDWR)

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None
