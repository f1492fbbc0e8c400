"""Clients that do not read: by a clock of the test's own, and over real connections with small buffers."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

import pytest
from starlette.types import Receive, Scope, Send

from app.http.outflow import LOOKS, Outflow
from app.http.protocol import Protocol
from tests.http.test_protocol import Connection, get, serving

SECONDS = 30.0
PACE = 4096


class Loop:
    """Its time is what a test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> "Loop":
        self._due.append((self.now + seconds, call))
        return self

    def cancel(self) -> None:
        self._due.clear()

    @property
    def waits(self) -> bool:
        return bool(self._due)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and min(self._due)[0] <= end:
            self.now, call = self._due.pop(self._due.index(min(self._due, key=lambda due: due[0])))
            call()
        self.now = end


class Pipe:
    """A transport into a real socket pair is not needed to tell when bytes leave: a test takes them out."""

    def __init__(self) -> None:
        self.buffered = 0
        self.aborted = self.closed = False
        self.socket = socket.socket()

    def write(self, data: bytes) -> None:
        self.buffered += len(data)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def get_extra_info(self, _name: str) -> socket.socket:
        return self.socket

    def abort(self) -> None:
        self.aborted, self.buffered = True, 0

    def close(self) -> None:
        self.closed = True

    def write_eof(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closed or self.aborted


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.socket.close()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def outflow(pipe: Pipe, loop: Loop) -> Outflow:
    return Outflow(cast(asyncio.Transport, pipe), cast(asyncio.AbstractEventLoop, loop), seconds=SECONDS, pace=PACE)


class TestDeadline:
    def test_is_for_whoever_takes_nothing(self, outflow: Outflow, pipe: Pipe, loop: Loop) -> None:
        """HT13."""
        outflow.write(bytes(100_000))
        loop.advance(SECONDS - 0.1)
        assert not pipe.aborted
        loop.advance(0.1)
        assert pipe.aborted
        assert not loop.waits

    def test_is_for_whoever_takes_too_little(self, outflow: Outflow, pipe: Pipe, loop: Loop) -> None:
        """HT13: a byte now and then holds a connection no longer than none."""
        outflow.write(bytes(100_000))
        for _ in range(30):
            pipe.buffered -= 1
            loop.advance(1)
        assert pipe.aborted

    def test_is_not_for_a_slow_and_steady_reader(self, outflow: Outflow, pipe: Pipe, loop: Loop) -> None:
        outflow.write(bytes(10 * PACE))
        for _ in range(9):
            loop.advance(SECONDS * (LOOKS - 2) / LOOKS)
            pipe.buffered -= PACE
        assert not pipe.aborted

    def test_is_not_for_who_took_all(self, outflow: Outflow, pipe: Pipe, loop: Loop) -> None:
        """The rest of an answer may be less than the pace; and an idle connection costs no timer."""
        outflow.write(bytes(10))
        loop.advance(SECONDS / 2)
        pipe.buffered = 0
        loop.advance(SECONDS)
        assert not pipe.aborted
        assert not loop.waits

    def test_begins_with_what_is_written_last(self, outflow: Outflow, pipe: Pipe, loop: Loop) -> None:
        """Whoever keeps up is not held to what was written a moment before a look."""
        for _ in range(100):
            outflow.write(bytes(100))
            loop.advance(SECONDS / LOOKS - 0.01)
            assert not pipe.aborted
            pipe.buffered = 0
            loop.advance(0.01)

    def test_holds_while_the_connection_closes(self, outflow: Outflow, pipe: Pipe, loop: Loop) -> None:
        """HT13: closing waits for what is buffered, for ever."""
        outflow.write(bytes(10))
        outflow.close()
        loop.advance(SECONDS)
        assert pipe.aborted

    def test_ends_with_the_connection(self, outflow: Outflow, loop: Loop) -> None:
        outflow.write(bytes(10))
        outflow.end()
        assert not loop.waits


PIECE = bytes(16_384)
LARGE = 64
"""Pieces: much more than small buffers of the kernel take for a client that has not read."""


class Sending:
    """An application that sends much, and counts."""

    def __init__(self) -> None:
        self.begun = self.under_way = self.most_under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for done in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{done}.complete"})
            return
        self.begun += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            pieces = {"/large": LARGE, "/last": 12}.get(scope["path"], 1)
            headers = [(b"content-length", str(pieces * len(PIECE)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for left in reversed(range(pieces)):
                await send({"type": "http.response.body", "body": PIECE, "more_body": left > 0})
        finally:
            self.under_way -= 1


class Impatient(Protocol):
    """Gives a client half a second, and tells what it saw."""

    reader_timeout = 0.5
    reader_progress = 1024
    lost: ClassVar[threading.Event]
    most_buffered: ClassVar[int]

    def connection_made(self, transport: Any) -> None:
        # The kernel's buffer is small too, so that what a client leaves unread is in ours.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        type(self).most_buffered = max(self.most_buffered, self._outflow._transport.get_write_buffer_size())
        super().pause_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


@pytest.fixture
def sending() -> Sending:
    Impatient.lost, Impatient.most_buffered = threading.Event(), 0
    return Sending()


@pytest.fixture
def reader(sending: Sending) -> Iterator[Connection]:
    with serving(Impatient, app=sending) as connect:
        yield connect()


class TestConnection:
    @pytest.mark.parametrize(
        "asked",
        [get("/large"), get("/large") * 30, get("/small") * 30, get("/last", b"Connection: close")],
        ids=["one answer", "pipelined answers", "small ones", "the last answer"],
    )
    def test_is_closed_where_the_client_does_not_read(
        self, sending: Sending, reader: Connection, asked: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """HT13: one answer is under way at a time, and what waits is bounded."""
        caplog.set_level("INFO")
        reader.send(asked)
        assert Impatient.lost.wait(30)
        assert "slow reader" in caplog.text
        assert sending.most_under_way == 1
        deadline = time.monotonic() + 30
        while sending.under_way and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sending.under_way == 0
        assert Impatient.most_buffered <= 65_536 + len(PIECE)
        assert "Exception in ASGI application" not in caplog.text

    def test_of_a_slow_and_steady_reader_lives_on(self, reader: Connection) -> None:
        reader.send(get("/large", b"Connection: close"))
        until = time.monotonic() + 3 * Impatient.reader_timeout
        taken = 0
        while time.monotonic() < until:
            taken += len(reader.socket.recv(4096))
            time.sleep(0.01)
        assert taken < LARGE * len(PIECE)
        taken += sum(map(len, iter(lambda: reader.socket.recv(1 << 20), b"")))
        assert taken > LARGE * len(PIECE)
        assert Impatient.lost.wait(30)


class TestPipelining:
    def test_a_client_that_goes_away_stops_the_answer_under_way(
        self, sending: Sending, reader: Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        """HT13: not the newest request is told, but the one that writes; the others are never begun."""
        reader.send(get("/large") * 5)
        assert reader.line() == b"HTTP/1.1 200 OK\r\n"
        reader.close()
        assert Impatient.lost.wait(30)
        deadline = time.monotonic() + 30
        while sending.under_way and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (sending.begun, sending.under_way) == (1, 0)
        assert "Exception in ASGI application" not in caplog.text
