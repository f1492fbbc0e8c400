"""What stands on the wire to STS: what is read, when a connection is used again, and when it is given up."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop

from app.aws import connections
from app.aws.connections import Connections, HttpAnswer, Unanswered
from tests.mail.servers import certificate

T = TypeVar("T")
FIELDS = (("Host", "127.0.0.1"),)
OK = b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 2\r\n\r\nok"
LOOPS = {"uvloop": uvloop.run, "asyncio": asyncio.run}


class Wire:
    """A server that gives one of `answers` to each request, oldest first, and counts connections."""

    def __init__(self, *answers: bytes, then_ends: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.then_ends = then_ends
        self.opened = 0
        self.requests: list[bytes] = []
        self._tls = tls
        self._serving: list[asyncio.Task[None] | None] = []

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*filter(None, self._serving))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._serving.append(asyncio.current_task())
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for piece in self.answers.pop(0).split(b"|"):
                    writer.write(piece)
                    await asyncio.sleep(0.01)
                if self.then_ends:
                    break
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[T]]], T]:
    def run(story: Callable[[], Awaitable[T]]) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(story(), 30)

        ran: T = LOOPS[request.param](bounded())
        return ran

    return run


Run = Callable[[Callable[[], Awaitable[T]]], T]


def ask(run: Run[HttpAnswer], *answers: bytes, then_ends: bool = False) -> HttpAnswer:
    async def story() -> HttpAnswer:
        async with Wire(*answers, then_ends=then_ends) as wire:
            pool = Connections(ca_file=None)
            try:
                return await pool.post(wire.url, FIELDS, b"a=b")
            finally:
                pool.close()

    return run(story)


class TestAnswer:
    @pytest.mark.parametrize(
        "answer",
        [
            OK,
            b"HTTP/1.1 200 OK\r\nDa|te: today\r\nContent-Length: 2\r\n\r\n|o|k",
            b"HTTP/1.1 200 OK\r\nDate: today\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n|1\r\nk\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
            b"HTTP/1.1 103 Early Hints\r\nDate: yesterday\r\nContent-Length: 9\r\n\r\n|" + OK,
        ],
    )
    def test_is_read_however_it_is_cut(self, run: Run[HttpAnswer], answer: bytes) -> None:
        assert ask(run, answer) == HttpAnswer(200, "today", b"ok")

    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    def test_may_end_with_the_connection(self, run: Run[HttpAnswer], version: bytes) -> None:
        answer = b"HTTP/%b 403 Forbidden\r\nDate: today\r\n\r\n|no" % version
        assert ask(run, answer, then_ends=True) == HttpAnswer(403, "today", b"no")

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Len",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        ],
    )
    def test_that_is_not_whole_is_none(self, run: Run[HttpAnswer], answer: bytes) -> None:
        with pytest.raises(Unanswered):
            ask(run, answer, then_ends=True)

    def test_has_bounds(self, run: Run[HttpAnswer]) -> None:
        longest = connections.LONGEST_ANSWER
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        assert len(ask(run, head % longest + b"x" * longest).body) == longest
        with pytest.raises(Unanswered):
            ask(run, head % (longest + 1) + b"x" * (longest + 1))

    def test_is_waited_for_no_longer_than_that(self, run: Run[HttpAnswer], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connections, "READ_TIMEOUT", 0.05)
        with pytest.raises(TimeoutError):
            ask(run, b"HTTP/1.1 200 OK\r\n")


class TestField:
    @pytest.mark.parametrize("value", ["token\r\nX-Forged: 1", "token\n", "tok€n"])
    def test_that_is_no_line_is_not_sent(self, run: Run[bool], value: str) -> None:
        async def story() -> bool:
            async with Wire(OK) as wire:
                pool = Connections(ca_file=None)
                with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
                    await pool.post(wire.url, (*FIELDS, ("X-Amz-Security-Token", value)), b"")
                pool.close()
                return wire.requests == []

        assert run(story)


def connections_of(run: Run[Wire], answers: list[bytes], *, then_ends: bool = False) -> Wire:
    """The server, after one call after the other."""

    async def story() -> Wire:
        calls = len(answers)
        async with Wire(*answers, then_ends=then_ends) as wire:
            pool = Connections(ca_file=None)
            for _ in range(calls):
                assert (await pool.post(wire.url, FIELDS, b"a=b")).body == b"ok"
                await asyncio.sleep(0.05)  # whoever closes has done so
            pool.close()
        return wire

    return run(story)


class TestReuse:
    def test_is_the_rule(self, run: Run[Wire]) -> None:
        wire = connections_of(run, [OK] * 5)
        assert (wire.opened, len(wire.requests)) == (1, 5)

    def test_is_of_none_that_has_ended(self, run: Run[Wire]) -> None:
        assert connections_of(run, [OK] * 3, then_ends=True).opened == 3

    @pytest.mark.parametrize(
        "answer",
        [
            OK.replace(b"Date", b"Connection: close\r\nDate"),
            OK.replace(b"1.1", b"1.0"),
            OK + OK,  # more answers than questions
            OK + b"|HTTP/1.1 200 OK\r\n",
        ],
    )
    def test_is_of_none_that_says_otherwise(self, run: Run[Wire], answer: bytes) -> None:
        assert connections_of(run, [answer, OK, OK]).opened == 2

    def test_is_of_none_that_was_idle_for_long(self, run: Run[Wire], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connections, "KEPT_ALIVE", 0.02)
        assert connections_of(run, [OK] * 2).opened == 2

    def test_is_of_none_whose_caller_has_gone(self, run: Run[Wire]) -> None:
        """The late answer belongs to the first call, and must never be that of the next one."""

        async def story() -> Wire:
            late = OK.replace(b"ok", b"no")
            async with Wire(late[:20] + b"|" * 20 + late[20:], OK) as wire:
                pool = Connections(ca_file=None)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(pool.post(wire.url, FIELDS, b"a=b"), 0.05)
                assert (await pool.post(wire.url, FIELDS, b"a=b")).body == b"ok"
                pool.close()
            return wire

        assert run(story).opened == 2

    def test_is_never_by_two_at_once(self, run: Run[Wire]) -> None:
        async def story() -> Wire:
            async with Wire(*[b"HTTP/1.1 200 OK\r\n|" + OK[17:]] * 20) as wire:
                pool = Connections(ca_file=None)
                for _ in range(2):
                    answers = await asyncio.gather(*(pool.post(wire.url, FIELDS, b"a=b") for _ in range(10)))
                    assert {answer.body for answer in answers} == {b"ok"}
                pool.close()
            return wire

        assert run(story).opened == 10


class TestTls:
    def test_is_with_whom_the_authorities_vouch_for(self, run: Run[bytes], tmp_path: Path) -> None:
        served, authorities = certificate(tmp_path)

        async def story() -> bytes:
            async with Wire(OK, tls=served) as wire:
                for ca_file, url in (
                    (None, wire.url),  # nobody vouches for it
                    (str(authorities), wire.url.replace("127.0.0.1", "localhost")),  # it is for another name
                ):
                    with pytest.raises(ssl.SSLCertVerificationError):
                        await Connections(ca_file=ca_file).post(url, FIELDS, b"")
                pool = Connections(ca_file=str(authorities))
                body = (await pool.post(wire.url, FIELDS, b"")).body
                pool.close()
                return body

        assert run(story) == b"ok"
