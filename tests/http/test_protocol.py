"""The HTTP edge, spoken to through real sockets."""

import gc
import json
import logging
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from typing import Any
from weakref import WeakSet

import pytest
import uvicorn
from starlette.types import ASGIApp

from app.http.protocol import Protocol
from app.http.server import bind, make_config
from tests.support import tiny

HOST = b"Host: localhost\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def get(path: str = "/", *fields: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\n" % path.encode() + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def post(path: str, body: bytes, *fields: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return get(path, b"Content-Length: %d" % size, *fields).replace(b"GET", b"POST", 1) + body


class Hasty(Protocol):
    head_timeout = body_timeout = 0.25
    body_progress = 1024


class Patient(Hasty):
    """Its second is so much more than the pauses in these tests that a busy machine makes no difference."""

    body_timeout = 1.0


@dataclass
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        return self._file.readline()

    def answer(self) -> Answer:
        status = int(self.line().split()[1])
        headers = parse_headers(self._file)
        return Answer(status, headers, self._file.read(int(headers["content-length"])))

    def read(self, length: int) -> bytes:
        return self._file.read(length)

    def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        return self._file.read()

    def close(self) -> None:
        self._file.close()
        self.socket.close()


Connect = Callable[[], Connection]


@contextmanager
def serving(protocol: type[Protocol], keep_alive: int = 75, app: ASGIApp = tiny.app) -> Iterator[Connect]:
    config = make_config(app, host="127.0.0.1", port=0)
    config.http = protocol
    config.timeout_keep_alive = keep_alive
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    connections: list[Connection] = []

    def connect() -> Connection:
        connections.append(Connection(listener.getsockname()[1]))
        return connections[-1]

    try:
        yield connect
    finally:
        for connection in connections:
            connection.close()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Connect]:
    with serving(Protocol) as connect:
        yield connect


@pytest.fixture(scope="module")
def hasty_server() -> Iterator[Connect]:
    with serving(Hasty) as connect:
        yield connect


@pytest.fixture
def connection(server: Connect) -> Connection:
    """To a server with its real deadlines."""
    tiny.seen.clear()
    return server()


@pytest.fixture
def hasty(hasty_server: Connect) -> Connection:
    """To a server that waits a quarter of a second for what a client owes it."""
    tiny.seen.clear()
    return hasty_server()


def assert_refused(connection: Connection, status: int, code: str) -> Answer:
    answer = connection.answer()
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["connection"] == "close"
    assert connection.rest() == b""
    return answer


class TestRefusal:
    def test_is_a_problem_document_that_ends_the_connection(self, connection: Connection) -> None:
        """HT4"""
        connection.send(b"nonsense secret-7d1f\r\n\r\n")
        answer = assert_refused(connection, 400, "malformed_request")
        assert answer.json == {
            "type": "urn:tokenvend:problem:malformed_request",
            "title": "The request could not be read",
            "status": 400,
            "detail": "The request is not well-formed HTTP/1.1.",
            "code": "malformed_request",
            "request_id": answer.headers["x-request-id"],
        }
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["date"]
        assert answer.headers["server"] is None

    def test_is_logged_by_its_id_without_a_word_of_the_request(
        self, connection: Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        """HT4, OP1, OP3"""
        caplog.set_level(logging.DEBUG)
        connection.send(b"GET /secret-7d1f HTTP/1.1\r\nsecret-7d1f\n\r\n")
        answer = assert_refused(connection, 400, "malformed_request")
        assert answer.json["request_id"] in caplog.text
        assert "secret-7d1f" not in caplog.text + answer.body.decode()


MALFORMED = {
    # framing
    "CL and TE": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "TE identity and CL": post("/", b"abc", b"Transfer-Encoding: identity"),
    "two CL that differ": post("/", b"abc", b"Content-Length: 30"),
    "two CL alike": post("/", b"abc", b"Content-Length: 3"),
    "CL list": get("/", b"Content-Length: 0, 0"),
    "CL with a sign": get("/", b"Content-Length: +0"),
    "CL below zero": get("/", b"Content-Length: -1"),
    "CL in hexadecimal": get("/", b"Content-Length: 0x0"),
    "CL empty": get("/", b"Content-Length:"),
    "CL with a space inside": get("/", b"Content-Length: 0 3"),
    "CL beyond 64 bits": get("/", b"Content-Length: 18446744073709551617"),
    "TE unknown": CHUNKED.replace(b"chunked", b"xchunked") + b"0\r\n\r\n",
    "TE in mixed case": CHUNKED.replace(b"chunked", b"cHuNkEd") + b"0\r\n\r\n",
    "TE with a space behind": CHUNKED.replace(b"chunked", b"chunked ") + b"0\r\n\r\n",
    "TE behind a vertical tab": CHUNKED.replace(b" chunked", b"\x0bchunked") + b"0\r\n\r\n",
    "TE quoted": CHUNKED.replace(b"chunked", b'"chunked"') + b"0\r\n\r\n",
    "TE list": CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",
    "TE twice in one": CHUNKED.replace(b"chunked", b"chunked, chunked") + b"0\r\n\r\n",
    "TE twice, chunked last": get("/", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE twice, chunked first": get("/", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + b"0\r\n\r\n",
    "TE in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "TE before a colon with space": CHUNKED.replace(b"Encoding:", b"Encoding :") + b"0\r\n\r\n",
    "TE on a folded line": CHUNKED.replace(b" chunked", b"\r\n chunked") + b"0\r\n\r\n",
    "TE behind a bare LF": get("/", b"X: y\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE behind a bare CR": get("/", b"X: y\rTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunk size in error": CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "chunk size with a sign": CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "chunk size with a prefix": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "chunk size with a space": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "chunk size and bare LF": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "chunk extension and bare LF": CHUNKED + b"3;a\nabc\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"3\r\nabc0\r\n\r\n",
    "trailer that frames": CHUNKED + b"3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n",
    # lines and fields
    "bare LF throughout": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: localhost\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: localhost\r\n\n",
    "bare CR after the request line": b"GET / HTTP/1.1\rHost: localhost\r\n\r\n",
    "obs-fold": get("/", b"X: a", b" b"),
    "obs-fold before the first field": b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "field without a colon": get("/", b"X"),
    "field without a name": get("/", b": x"),
    "NUL in a name": get("/", b"X\0: y"),
    "NUL in a value": get("/", b"X: y\0z"),
    "control byte in a value": get("/", b"X: y\x01z"),
    "non-ASCII name": get("/", b"X\xff: y"),
    # Host
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts alike": get("/", b"Host: localhost"),
    "two Hosts that differ": get("/", b"hOST: evil.example"),
    "two Hosts in HTTP/1.0": get("/", b"Host: evil.example").replace(b"1.1", b"1.0"),
    # request line
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 by name": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower-case version": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "space after the version": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "unknown method": b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab after the method": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute target without a Host field": b"GET http://localhost/ HTTP/1.1\r\n\r\n",
    "absolute target with two Host fields": b"GET http://localhost/ HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "absolute target with a user": b"GET http://localhost@evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute target without a host": b"GET http:///healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute target of another scheme": b"GET ftp://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute target with a backslash": b"GET http://localhost\\@evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute target with a fragment": b"GET http://localhost/#a HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority target": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT to a path": b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk target of another method": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk target with more": b"OPTIONS *?a HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /#/../admin HTTP/1.1\r\n" + HOST + b"\r\n",
    "non-ASCII path": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "non-ASCII query": b"GET /?\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "control byte in the target": b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "DEL in the query": b"GET /?\x7f HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
}


class TestSmuggling:
    @pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
    def test_malformed_request_is_refused_with_all_that_follows(self, connection: Connection, raw: bytes) -> None:
        """HT10"""
        connection.send(raw + NEXT)
        assert_refused(connection, 400, "malformed_request")
        assert "/smuggled" not in tiny.seen

    @pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
    def test_it_makes_no_difference_how_the_bytes_arrive(self, connection: Connection, raw: bytes) -> None:
        """HT10"""
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = raw + NEXT
        for at in range(0, len(whole), 9):
            connection.send(whole[at : at + 9])
        assert_refused(connection, 400, "malformed_request")
        assert "/smuggled" not in tiny.seen

    def test_only_a_body_in_error_reaches_the_application(self, connection: Connection) -> None:
        """HT10"""
        connection.send(MALFORMED["two Hosts alike"])
        assert_refused(connection, 400, "malformed_request")
        assert tiny.seen == []

    def test_refusal_comes_after_the_answer_to_the_request_before(self, connection: Connection) -> None:
        """HT10: out of order it would be taken for the answer to that one"""
        connection.send(get("/sleep") + MALFORMED["no Host"] + NEXT)
        assert connection.answer().json["path"] == "/sleep"
        assert_refused(connection, 400, "malformed_request")
        assert tiny.seen == ["/sleep"]

    def test_waiting_request_with_a_body_in_error_is_never_started(self, connection: Connection) -> None:
        """HT10"""
        connection.send(get("/sleep") + get("/second") + MALFORMED["chunk size in error"] + NEXT)
        assert [connection.answer().json["path"] for _ in range(2)] == ["/sleep", "/second"]
        assert_refused(connection, 400, "malformed_request")
        assert tiny.seen == ["/sleep", "/second"]

    def test_body_in_error_behind_its_answer_gets_no_second_one(self, connection: Connection) -> None:
        """HT10"""
        connection.send(CHUNKED.replace(b"/ ", b"/unread "))
        assert connection.answer().status == 200
        connection.send(b"zz\r\n" + NEXT)
        assert connection.rest() == b""
        assert tiny.seen == ["/unread"]

    @pytest.mark.parametrize("head", [get("/", b"Connection: close"), b"GET / HTTP/1.0\r\n\r\n"])
    def test_nothing_follows_the_last_request(self, connection: Connection, head: bytes) -> None:
        """HT10: a proxy believes that the connection ended there"""
        connection.send(head + NEXT)
        assert connection.answer().status == 200
        assert connection.rest() == b""
        assert tiny.seen == ["/"]

    def test_nothing_follows_an_http_1_0_request_that_asks_for_more(self, connection: Connection) -> None:
        """HT10"""
        connection.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + NEXT)
        assert connection.answer().headers["connection"] == "close"
        assert connection.rest() == b""
        assert tiny.seen == ["/"]

    def test_trailer_fields_are_dropped(self, connection: Connection) -> None:
        """HT10: a proxy filters the header, not the trailer"""
        connection.send(CHUNKED.replace(b"/ ", b"/sleep ") + b"3\r\nabc\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        answer = connection.answer()
        assert answer.json["length"] == 3
        assert answer.json["headers"] == [["host", "localhost"], ["transfer-encoding", "chunked"]]

    @pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
    def test_body_of_an_upgrade_is_a_body(
        self, connection: Connection, protocol: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """HT10: the parser would take it for the next request"""
        connection.send(post("/upgrade", NEXT, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol))
        assert connection.answer().json["length"] == len(NEXT)
        connection.send(get("/next"))
        assert connection.answer().json["path"] == "/next"
        assert tiny.seen == ["/upgrade", "/next"]
        assert caplog.text == ""

    def test_upgrade_in_a_row_of_requests(self, connection: Connection) -> None:
        """HT10"""
        upgrade = (b"Connection: upgrade", b"Upgrade: h2c")
        connection.send(get("/sleep") + get("/1", *upgrade) + post("/2", b"abc", *upgrade) + get("/3"))
        answers = [connection.answer().json for _ in range(4)]
        assert [(answer["path"], answer["length"]) for answer in answers] == [
            ("/sleep", 0),
            ("/1", 0),
            ("/2", 3),
            ("/3", 0),
        ]

    def test_upgrade_does_not_hide_a_fault(self, connection: Connection) -> None:
        """HT10"""
        fields = (b"Connection: upgrade", b"Upgrade: h2c", b"Transfer-Encoding: identity")
        connection.send(get("/", *fields) + NEXT)
        assert_refused(connection, 400, "malformed_request")
        assert tiny.seen == []


class TestSize:
    def head(self, size: int) -> bytes:
        empty = get("/", b"X: ")
        return get("/", b"X: " + b"a" * (size - len(empty)))

    def test_header_just_under_the_cap_is_answered(self, connection: Connection) -> None:
        """HT2"""
        connection.send(self.head(16 * 1024))
        assert connection.answer().status == 200

    @pytest.mark.parametrize("size", [16 * 1024 + 64, 200_000, 4_000_000])
    def test_larger_header_is_refused(self, connection: Connection, size: int) -> None:
        """HT2"""
        connection.send(self.head(size))
        assert_refused(connection, 431, "headers_too_large")
        assert tiny.seen == []

    def test_many_small_fields_are_refused(self, connection: Connection) -> None:
        """HT2"""
        connection.send(get("/", *[b"X-%d: y" % number for number in range(2000)]))
        assert_refused(connection, 431, "headers_too_large")

    def test_long_target_is_refused(self, connection: Connection) -> None:
        """HT2"""
        connection.send(get("/" + "a" * 17_000))
        assert_refused(connection, 431, "headers_too_large")

    @pytest.mark.parametrize(
        "start",
        [b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX", b"GET /", b"\r\n"],
        ids=["value", "name", "target", "CRLF"],
    )
    def test_header_that_never_ends_is_refused_before_it_is_kept(self, connection: Connection, start: bytes) -> None:
        """HT2"""
        filler = b"\r\n" if start == b"\r\n" else b"a"
        connection.send(start + filler * 9_000)
        connection.send(filler * 9_000)
        assert_refused(connection, 431, "headers_too_large")

    def test_large_header_behind_another_request_is_refused(self, connection: Connection) -> None:
        """HT2"""
        connection.send(get("/first") + self.head(17_000))
        assert connection.answer().json["path"] == "/first"
        assert_refused(connection, 431, "headers_too_large")
        assert tiny.seen == ["/first"]

    def test_large_piece_of_small_requests_is_served(self, connection: Connection) -> None:
        for _ in range(2):
            connection.send(post("/", b"b" * 60_000) + get("/next") * 9)
            assert [connection.answer().status for _ in range(10)] == [200] * 10

    @pytest.mark.parametrize("tail", [b"3;", b"3\r\nabc\r\n0\r\nX: "], ids=["extension", "trailer"])
    def test_framing_of_a_body_that_never_ends_is_refused(self, connection: Connection, tail: bytes) -> None:
        """HT2: the parser would keep all of a trailer field"""
        connection.send(CHUNKED + tail + b"a" * 1_000_000)
        assert_refused(connection, 400, "malformed_request")

    def test_no_more_requests_wait_than_a_client_has_reason_for(self, connection: Connection) -> None:
        """HT2: ten thousand fit into one read, and each would be kept until its turn"""
        connection.send(get("/sleep") + get("/") * 40)
        assert [connection.answer().status for _ in range(33)] == [200] * 33
        assert_refused(connection, 400, "malformed_request")


class TestDeadlines:
    def test_silent_connection_is_closed_without_a_word(self, hasty: Connection) -> None:
        """HT2"""
        assert hasty.rest() == b""

    def test_connection_that_sends_empty_lines_is_closed_without_a_word(self, hasty: Connection) -> None:
        """HT2"""
        hasty.send(get())
        assert hasty.answer().status == 200
        hasty.send(b"\r\n")
        assert hasty.rest() == b""

    def test_half_a_head_is_refused(self, hasty: Connection) -> None:
        """HT2"""
        hasty.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert_refused(hasty, 408, "request_timeout")

    def test_head_that_comes_byte_by_byte_is_refused(self, hasty: Connection) -> None:
        """HT2"""
        began = time.monotonic()
        sent = dribble(hasty, b"GET / HTTP/1.1\r\nX: " + b"a" * 200)
        assert 0.2 < time.monotonic() - began < 4
        assert sent < 100
        assert_refused(hasty, 408, "request_timeout")

    def test_second_head_has_the_same_deadline(self, hasty: Connection) -> None:
        """HT2"""
        hasty.send(get())
        assert hasty.answer().status == 200
        hasty.send(b"GET / HTTP/1.1\r\n")
        assert_refused(hasty, 408, "request_timeout")

    def test_head_that_begins_behind_another_request_has_the_same_deadline(self, hasty: Connection) -> None:
        """HT2"""
        hasty.send(get() + b"GET / HTTP/1.1\r\n")
        assert hasty.answer().status == 200
        assert_refused(hasty, 408, "request_timeout")

    def test_half_a_body_is_refused(self, hasty: Connection) -> None:
        """HT2"""
        hasty.send(post("/", b"ab", length=100))
        assert_refused(hasty, 408, "request_timeout")

    @pytest.mark.parametrize("head", [post("/", b"", length=1000), CHUNKED + b"3;"], ids=["body", "chunk extension"])
    def test_body_that_comes_byte_by_byte_is_refused(self, hasty: Connection, head: bytes) -> None:
        """HT2"""
        hasty.send(head)
        assert dribble(hasty, b"a" * 200) < 100
        assert_refused(hasty, 408, "request_timeout")

    def test_late_body_cuts_an_answer_that_has_begun(self, hasty: Connection) -> None:
        """HT2"""
        hasty.send(post("/begun", b"ab", length=100))
        assert hasty.line() == b"HTTP/1.1 200 OK\r\n"
        assert parse_headers(hasty._file)["content-length"]
        assert hasty.rest() == b""

    def test_body_that_nobody_waits_for_has_the_same_deadline(self, hasty: Connection) -> None:
        """HT2: however fast it comes; its answer is out, and no second one follows"""
        hasty.send(post("/unread", b"", length=1_000_000))
        assert hasty.answer().status == 200
        assert dribble(hasty, b"a" * 400_000, size=2048) < 400_000
        assert hasty.rest() == b""

    def test_upload_may_last_as_long_as_it_moves(self) -> None:
        with serving(Patient) as connect:
            uploading = connect()
            uploading.send(post("/", b"", length=6 * 1024))
            for _ in range(6):
                time.sleep(0.25)
                uploading.send(b"a" * 1024)
            assert uploading.answer().json["length"] == 6 * 1024

    @pytest.mark.parametrize("path", ["/sleep", "/sleep-first"])
    def test_slow_application_is_not_the_clients_fault(self, hasty: Connection, path: str) -> None:
        hasty.send(post(path, b"abc"))
        assert hasty.answer().json["length"] == 3

    def test_time_in_which_the_server_reads_nothing_does_not_count(self, hasty: Connection) -> None:
        body = b"a" * 8_000_000
        hasty.send(post("/sleep-first", body))
        assert hasty.answer().json["length"] == len(body)

    def test_wait_for_100_continue_does_not_count(self) -> None:
        with serving(Patient) as connect:
            polite = connect()
            polite.send(post("/sleep-first", b"", b"Expect: 100-continue", length=3))
            assert (polite.line(), polite.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
            time.sleep(0.65)  # a body in time, though more than a second after its head
            polite.send(b"abc")
            assert polite.answer().json["length"] == 3

    def test_idle_connection_outlives_them(self, hasty: Connection) -> None:
        for _ in range(2):
            hasty.send(get())
            assert hasty.answer().status == 200
            time.sleep(0.4)
        hasty.send(get())
        assert hasty.answer().status == 200


class TestKeepAlive:
    @pytest.fixture
    def connection(self) -> Iterator[Connection]:
        """To a server that keeps an idle connection for a second."""
        with serving(Protocol, keep_alive=1) as connect:
            yield connect()

    def test_idle_connection_is_closed_in_time(self, connection: Connection) -> None:
        connection.send(get())
        assert connection.answer().status == 200
        answered = time.monotonic()
        assert connection.rest() == b""
        assert 0.8 < time.monotonic() - answered < 4

    def test_each_request_starts_the_time_again(self, connection: Connection) -> None:
        for pause in (0.6, 0.6, 0):
            connection.send(get())
            assert connection.answer().status == 200
            time.sleep(pause)

    def test_connection_that_was_reset_is_forgotten_at_once(self) -> None:
        living: WeakSet[Protocol] = WeakSet()

        class Counted(Protocol):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                living.add(self)

        with serving(Counted) as connect:
            reset = connect()
            reset.send(get())
            assert reset.answer().status == 200
            assert len(living) == 1
            reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.close()
            for _ in range(100):
                time.sleep(0.02)
                gc.collect()
                if not living:
                    break
            assert not living

    def test_connection_refused_behind_another_request_is_forgotten_too(self) -> None:
        """Or it would be kept for ever, and a server that is stopped would wait for it."""
        living: WeakSet[Protocol] = WeakSet()

        class Counted(Protocol):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                living.add(self)

        with serving(Counted) as connect:
            refused = connect()
            refused.send(get("/sleep") + b"GET /no-host HTTP/1.1\r\n\r\n")
            assert [refused.answer().status, refused.answer().status] == [200, 400]
            assert refused.rest() == b""
            refused.close()
            for _ in range(100):
                time.sleep(0.02)
                gc.collect()
                if not living:
                    break
            assert not living

    def test_oldest_idle_connection_makes_room_for_a_new_one(self) -> None:
        """HT2: neither one with a request under way, nor one that was used since."""

        class Crowded(Protocol):
            most_connections = 4

        with serving(Crowded) as connect:
            busy, first, second, third = (connect() for _ in range(4))
            busy.send(post("/", b"a", length=2))
            for one in (first, second, third, first):
                one.send(get())
                assert one.answer().status == 200
            newest = connect()
            newest.send(get())
            assert newest.answer().status == 200
            assert second.rest() == b""
            for one in (first, third):
                one.send(get())
                assert one.answer().status == 200
            busy.send(b"b")
            assert busy.answer().json["length"] == 2

    def test_connection_whose_body_came_late_makes_room_too(self) -> None:
        class Crowded(Protocol):
            most_connections = 1

        with serving(Crowded) as connect:
            late = connect()
            late.send(post("/unread", b"ab", length=4))
            assert late.answer().status == 200
            late.send(b"cd" + get("/sleep"))
            assert late.answer().status == 200
            late.send(post("/unread", b"ab", length=4))
            assert late.answer().status == 200
            late.send(b"cd")
            newest = connect()
            newest.send(get())
            assert newest.answer().status == 200
            connect().send(get())
            assert late.rest() == b""

    def test_crowd_without_an_idle_connection_is_let_in(self) -> None:
        class Crowded(Protocol):
            most_connections = 1

        with serving(Crowded) as connect:
            crowd = [connect() for _ in range(5)]
            for one in crowd:
                one.send(get("/sleep"))
            assert [one.answer().status for one in crowd] == [200] * 5

    def test_room_is_less_than_the_files_that_a_process_may_open(self) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert 0 < Protocol.most_connections < files

    def test_connection_whose_body_came_late_is_closed_too(self, connection: Connection) -> None:
        connection.send(post("/unread", b"ab", length=4))
        assert connection.answer().status == 200
        connection.send(b"cd" + get("/next"))
        assert connection.answer().json["path"] == "/next"
        connection.send(post("/unread", b"ab", length=4))
        assert connection.answer().status == 200
        connection.send(b"cd")
        assert connection.rest() == b""


class TestOrdinaryRequests:
    def test_connection_is_kept(self, connection: Connection) -> None:
        for path in ("/1", "/2"):
            connection.send(get(path))
            answer = connection.answer()
            assert (answer.json["path"], answer.headers["connection"]) == (path, None)

    def test_requests_in_a_row_are_answered_in_order(self, connection: Connection) -> None:
        connection.send(get("/sleep") + get("/2") + post("/3", b"abc"))
        assert [connection.answer().json["path"] for _ in range(3)] == ["/sleep", "/2", "/3"]

    def test_chunked_body_arrives(self, connection: Connection) -> None:
        connection.send(CHUNKED)
        for piece in (b"3\r\nabc\r\n", b"a;x=y\r\n0123456789\r\n", b"0\r\n\r\n" + get("/next")):
            connection.send(piece)
        assert connection.answer().json["length"] == 13
        assert connection.answer().json["path"] == "/next"

    def test_http_1_0_needs_no_host(self, connection: Connection) -> None:
        connection.send(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 200
        assert connection.rest() == b""

    @pytest.mark.parametrize(
        ("target", "path", "host"),
        [
            (b"http://localhost/a?b=c", "/a", "localhost"),
            (b"http://proxied.example:8080/a", "/a", "proxied.example:8080"),
            (b"https://[::1]:8000/a", "/a", "[::1]:8000"),
            (b"HTTP://localhost", "/", "localhost"),
            (b"http://localhost?b=c", "/", "localhost"),
        ],
    )
    def test_absolute_target_names_host_and_path(
        self, connection: Connection, target: bytes, path: str, host: str
    ) -> None:
        """RFC 9112 §3.2.2: every server takes it, and what it says stands in the place of the Host field."""
        connection.send(b"GET %s HTTP/1.1\r\nHost: other.example\r\nX: y\r\n\r\n" % target + get("/next"))
        answer = connection.answer().json
        assert (answer["path"], answer["query"]) == (path, "b=c" if b"?" in target else "")
        assert sorted(answer["headers"]) == [["host", host], ["x", "y"]]
        assert connection.answer().json["path"] == "/next"

    def test_absolute_target_of_http_1_0_brings_its_host(self, connection: Connection) -> None:
        connection.send(b"GET http://localhost/a HTTP/1.0\r\n\r\n")
        answer = connection.answer().json
        assert (answer["path"], answer["headers"]) == ("/a", [["host", "localhost"]])

    def test_absolute_target_with_an_upgrade(self, connection: Connection) -> None:
        """HT10: the head is parsed twice"""
        fields = b"Host: other.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        connection.send(b"GET http://localhost/a HTTP/1.1\r\n" + fields)
        answer = connection.answer().json
        assert answer["path"] == "/a"
        assert ["host", "localhost"] in answer["headers"]
        assert ["host", "other.example"] not in answer["headers"]

    def test_asterisk_asks_the_server(self, connection: Connection) -> None:
        connection.send(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n" + get("/next"))
        assert connection.answer().json["path"] == "*"
        assert connection.answer().json["path"] == "/next"

    @pytest.mark.parametrize(
        "fields",
        [
            (b"Connection: close, TE", b"TE: trailers"),
            (b"Connection: TE, Close",),
            (b"connection: TE", b"CONNECTION: cLoSe"),
        ],
    )
    def test_close_among_other_options_ends_the_connection(
        self, connection: Connection, fields: tuple[bytes, ...]
    ) -> None:
        connection.send(get("/", *fields))
        assert connection.answer().headers["connection"] == "close"
        assert connection.rest() == b""

    @pytest.mark.parametrize("option", [b"TE", b"keep-alive", b"keep-alive, TE", b"Upgrade", b"x-unknown", b""])
    def test_other_options_keep_it(self, connection: Connection, option: bytes) -> None:
        connection.send(get("/1", b"Connection: " + option))
        assert connection.answer().headers["connection"] is None
        connection.send(get("/2"))
        assert connection.answer().json["path"] == "/2"

    def test_names_of_fields_are_alike_in_any_case(self, connection: Connection) -> None:
        connection.send(b"POST / HTTP/1.1\r\nhOsT: localhost\r\ncONTENT-lENGTH: 3\r\neXPECT: 100-Continue\r\n\r\n")
        assert (connection.line(), connection.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        connection.send(b"abc")
        assert connection.answer().json["length"] == 3

    @pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"])
    def test_empty_lines_before_a_request_are_skipped(self, connection: Connection, before: bytes) -> None:
        """RFC 9112 §2.2: some clients send one behind a body."""
        connection.send(post("/1", b"abc") + before + get("/2"))
        assert [connection.answer().json["path"] for _ in range(2)] == ["/1", "/2"]

    def test_http_1_0_expects_no_interim_answer(self, connection: Connection) -> None:
        """RFC 9110 §10.1.1: it would take it for the answer."""
        connection.send(post("/", b"abc", b"Expect: 100-continue").replace(b"1.1", b"1.0", 1))
        assert connection.answer().json["length"] == 3

    def test_body_that_does_not_wait_for_100_continue_is_read(self, connection: Connection) -> None:
        connection.send(post("/", b"abc", b"Expect: 100-continue"))
        assert (connection.line(), connection.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        assert connection.answer().json["length"] == 3

    def test_100_continue_asks_for_the_body(self, connection: Connection) -> None:
        connection.send(post("/", b"", b"Expect: 100-continue", length=3))
        assert (connection.line(), connection.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        connection.send(b"abc")
        assert connection.answer().json["length"] == 3

    def test_answer_instead_of_100_continue_ends_the_connection(self, connection: Connection) -> None:
        """HT10: what follows may be the body, or the next request"""
        connection.send(post("/unread", b"", b"Expect: 100-continue", length=len(NEXT)))
        assert connection.answer().headers["connection"] == "close"
        assert connection.rest() == b""

    def test_forwarded_address_is_left_to_the_application(self, connection: Connection) -> None:
        """HT8: uvicorn would believe it from loopback"""
        connection.send(get("/", b"X-Forwarded-For: 6.6.6.6"))
        answer = connection.answer()
        assert answer.json["client"][0] == "127.0.0.1"
        assert answer.headers["server"] is None
        assert answer.headers["date"]


def dribble(connection: Connection, data: bytes, size: int = 1) -> int:
    """Send a little at a time until the server has had enough; how many bytes went out."""
    connection.socket.setblocking(False)
    try:
        for sent in range(0, len(data), size):
            try:
                connection.socket.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                connection.send(data[sent : sent + size])
                time.sleep(0.02)
            else:
                return sent
    finally:
        connection.socket.settimeout(10)
    return len(data)


class TestHalfClosed:
    """A client may end its side of the connection after its last request (RFC 9293 §3.6)."""

    def test_gets_the_answers_that_are_due_and_then_the_end(self, connection: Connection) -> None:
        connection.send(get() + post("/sleep", b"{}"))  # the end comes before its answer
        connection.socket.shutdown(socket.SHUT_WR)
        first, second = connection.answer(), connection.answer()
        assert (first.status, second.status, second.headers["connection"]) == (200, 200, "close")
        assert connection.rest() == b""

    @pytest.mark.parametrize("request_", [b"", b"GET / HT", get()[:-2], post("/", b"{}")[:-1]])
    def test_gets_no_answer_to_half_a_request(self, connection: Connection, request_: bytes) -> None:
        connection.send(request_)
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.rest() == b""

    def test_ends_at_once_where_no_answer_is_due(self, connection: Connection) -> None:
        connection.send(get())
        assert connection.answer().status == 200
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.rest() == b""
