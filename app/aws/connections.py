"""Connections to STS that stay open, on the event loop: HTTP/1.1, read by the parser that uvicorn uses.

They carry what STS's query protocol needs: one POST at a time, and an answer of a bounded size. They know no redirects
and no proxies.
"""

import asyncio
import functools
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.aws.transport import CONNECT_TIMEOUT, READ_TIMEOUT

LONGEST_ANSWER = 65_536
"""Bytes of a body."""
KEPT_ALIVE = 15.0
"""Seconds after which an idle connection is no longer used. STS closes it a little later."""
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Unanswered(ConnectionError):
    """The connection ended, or what came was no whole answer."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    date: str | None
    """The field `Date`."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads."""

    host: str
    port: int
    is_tls: bool
    target: str
    """Of the request line."""
    authority: str
    """Of the field `Host`."""


@functools.cache
def place_of(url: str) -> Place:
    """Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("not an http:// or https:// URL")
    authority = parts.netloc.rpartition("@")[2].removesuffix(f":{_DEFAULT_PORTS[parts.scheme]}")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return Place(parts.hostname, port, parts.scheme == "https", parts.path or "/", authority)


class Connections:
    def __init__(self, *, ca_file: str | None) -> None:
        self._ca_file = ca_file
        self._idle: dict[Place, deque[_Connection]] = {}
        """The one that was used last is at the end."""
        self._open: set[_Connection] = set()

    async def post(self, url: str, fields: Iterable[tuple[str, str]], body: bytes) -> HttpAnswer:
        """The answer, whatever its status. `fields` have `Host`, and no `Content-Length`.

        Raises `Unanswered`, OSError (also for time-outs and certificates), ValueError.
        """
        place = place_of(url)
        message = _message(place, fields, body)
        connection = self._take(place) or await self._connect(place)
        try:
            answer = await connection.ask(message)
        except BaseException:  # also if the caller has gone: the answer may still come
            self._close(connection)
            raise
        if connection.is_reusable:
            connection.used_at = asyncio.get_running_loop().time()
            self._idle.setdefault(place, deque()).append(connection)
        else:
            self._close(connection)
        return answer

    def close(self) -> None:
        for connection in list(self._open):
            self._close(connection)
        self._idle.clear()

    def _take(self, place: Place) -> "_Connection | None":
        idle = self._idle.get(place)
        if not idle:
            return None
        oldest = asyncio.get_running_loop().time() - KEPT_ALIVE
        while idle and (idle[0].used_at < oldest or not idle[0].is_reusable):
            self._close(idle.popleft())
        while idle:
            connection = idle.pop()
            if connection.is_reusable:
                return connection
            self._close(connection)
        return None

    async def _connect(self, place: Place) -> "_Connection":
        tls = _tls(self._ca_file) if place.is_tls else None
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, connection = await asyncio.get_running_loop().create_connection(
                _Connection, place.host, place.port, ssl=tls
            )
        self._open.add(connection)
        return connection

    def _close(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        connection.close()


class _Connection(asyncio.Protocol):
    """One question at a time. The methods that begin with `on_` are for the parser."""

    def __init__(self) -> None:
        self.used_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpAnswer] | None = None
        """Waited for, or else none is due."""
        self._timer: asyncio.TimerHandle | None = None
        self._keeps_alive = True

    @property
    def is_reusable(self) -> bool:
        return self._keeps_alive and self._answer is None and self._transport is not None

    async def ask(self, message: bytes) -> HttpAnswer:
        if self._transport is None:
            raise Unanswered("hung up")
        self._parser = HttpResponseParser(self)
        self._status = 0
        answer: asyncio.Future[HttpAnswer] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(message)
        self._wait()
        return await answer

    def close(self) -> None:
        self._end(Unanswered("closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked
            self._end(Unanswered("unasked"))
            return
        self._wait()
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._end(Unanswered("garbled"))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._answer is not None and self._status >= 200 and self._ends_with_connection:
            self.on_message_complete()
        self._end(Unanswered("hung up"))

    def on_message_begin(self) -> None:
        if self._answer is None:
            self._keeps_alive = False  # a second answer to one question
        self._date: str | None = None
        self._body: list[bytes] = []
        self._length = 0
        self._ends_with_connection = True
        """Whether neither `Content-Length` nor chunks tell where the body ends."""

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"date":
                self._date = value.decode("latin-1")
            case b"content-length" | b"transfer-encoding":
                self._ends_with_connection = False

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        if self._length > LONGEST_ANSWER:
            self._end(Unanswered("too long an answer"))
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answer is None or self._status < 200:  # interim, such as 100
            return
        self._keeps_alive = self._keeps_alive and not self._ends_with_connection and self._parser.should_keep_alive()
        answer, self._answer = self._answer, None
        self._stop_waiting()
        if not answer.done():
            answer.set_result(HttpAnswer(self._status, self._date, b"".join(self._body)))

    def _wait(self) -> None:
        self._stop_waiting()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(READ_TIMEOUT, self._end, TimeoutError("no answer in time"))

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, error: OSError) -> None:
        """Gives the error to whoever waits, and ends the connection at once."""
        self._stop_waiting()
        self._keeps_alive = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


def _message(place: Place, fields: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Raises ValueError for a field that would end its line, such as a key that was pasted with one."""
    lines = [f"POST {place.target} HTTP/1.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@functools.cache
def _tls(ca_file: str | None) -> ssl.SSLContext:
    """One for each process: to read the authorities takes as long as ten calls."""
    return ssl.create_default_context(cafile=ca_file)
