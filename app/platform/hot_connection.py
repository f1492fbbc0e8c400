"""A connection to PostgreSQL that the event loop drives itself, for the few statements of the hot path.

In a thread, by SQLAlchemy, a look-up takes six times the processor time, and the way there and back is longer than the
statement. Everybody else keeps to `db.py`'s threads.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection

from app.platform.clock import SystemClock
from app.platform.problems import DatabaseUnavailable

ANSWER_WITHIN = 3.0
"""Seconds after which a caller gets a 503 although the database has not answered (a frozen peer never does)."""
PING_AFTER = 5.0
"""Seconds that a connection may be idle and still be trusted."""
RENEWED_AFTER = 1800.0
"""Seconds that a connection may last: what is in front of the database may have moved."""
CLOCK = SystemClock()

Row = tuple[Any, ...]


class Line:
    """One statement at a time, each a transaction of its own, so what it wrote is committed when its rows are there."""

    def __init__(self, arguments: Mapping[str, Any], password: Callable[[], str] | None = None) -> None:
        """`arguments` are psycopg's, of `connect`; `password` makes one for each connection, where they have none.

        It connects when it is first used, and anew after every fault.
        """
        self._arguments = arguments
        self._password = password
        self._connection: AsyncConnection[Row] | None = None
        self._opened_at = self._used_at = 0.0
        self._busy = False

    async def execute(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Raises `DatabaseUnavailable` for every operational fault, and psycopg's IntegrityError and DataError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_WITHIN
        overdue = loop.call_at(deadline, self._cut)
        self._busy = True
        try:
            connection = await self._trusted(deadline)
            cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
            rows = await cursor.fetchall()
        except (psycopg.IntegrityError, psycopg.DataError):
            raise
        except (psycopg.Error, OSError) as error:
            self._discard()
            raise DatabaseUnavailable(cause=f"{type(error).__module__}.{type(error).__qualname__}") from error
        except BaseException:  # cancelled: nobody knows what the connection would answer next
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
            self._cut()  # whoever waits for an answer gets a fault, and closes
        else:
            self._discard()

    async def _trusted(self, deadline: float) -> AsyncConnection[Row]:
        """The connection, or a new one where it died while nobody used it, or is old."""
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
        """Ends the connection under a statement that waits for its answer: cancelling would wait for the server too."""
        if self._connection is not None and not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.pgconn.socket)) as same:
                same.shutdown(socket.SHUT_RDWR)

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None
