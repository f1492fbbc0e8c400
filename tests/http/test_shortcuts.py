"""Shortcuts answer as their routes do. Each request goes to a server with shortcuts and to one without, by sockets."""

import asyncio
import dataclasses
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.api.credentials.shortcuts import Vend
from app.http.protocol import Protocol
from app.http.server import make_config
from app.platform import logs
from app.platform.problems import StsUnavailable
from app.records.newcomers import NEWCOMER_FOR
from tests.http.test_protocol import Connection
from tests.support.logged import capture_logs
from tests.support.redis import RedisServer, redis_server
from tests.support.service import Device, Service
from tests.vending.crowd import sign_in

pytestmark = pytest.mark.sampled(1)

VEND, CONTAINER = "/v1/credentials", "/v1/credentials/container"
DATE = (b"date", b"Mon, 01 Jun 2026 12:00:00 GMT")
_ID = re.compile(rb'(x-request-id: |"request_id": ?")[0-9a-f]{32}')


class Counting(Protocol):
    """Counts the answers by shortcut."""

    taken = 0

    def _send_answer(self, *args: Any) -> None:
        Counting.taken += 1
        super()._send_answer(*args)


class Plain(Protocol):
    """Knows no shortcut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shortcuts = None


@dataclass
class Servers:
    service: Service
    short: int
    """Port of the server with shortcuts."""
    plain: int
    waited_for: set[asyncio.Task[None]]
    """What the server with shortcuts would wait for before it stops."""
    connections: list[Connection] = field(default_factory=list)

    def connect(self, port: int) -> Connection:
        self.connections.append(Connection(port))
        return self.connections[-1]

    def ask(self, port: int, request: bytes) -> bytes:
        """The whole answer, without what differs from request to request."""
        connection = self.connect(port)
        connection.send(request)
        head = b"".join(iter(connection.line, b"\r\n")) + b"\r\n"
        length = 0 if request.startswith(b"HEAD") else int(re.findall(rb"content-length: (\d+)", head)[0])
        body = connection.rest() if b"connection: close" in head else connection.read(length)
        assert len(body) == length
        return _ID.sub(rb"\1", head + body)

    def answers(self, request: bytes) -> tuple[bytes, bool]:
        """The answer of both servers, and whether a shortcut gave it."""
        plain, before = self.ask(self.plain, request), Counting.taken
        short = self.ask(self.short, request)
        assert short == plain, request[:300]
        return plain, Counting.taken > before

    def key(self, request: bytes) -> str:
        """The access key id that the shortcut gives."""
        before, answer = Counting.taken, self.ask(self.short, request)
        assert Counting.taken == before + 1
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        return str(body.get("access_key_id") or body["AccessKeyId"])

    def status(self, request: bytes) -> int:
        answer, _ = self.answers(request)
        return int(answer.split(b" ", 2)[1])


Serve = Callable[..., Servers]


@pytest.fixture
def serve(make_service: Callable[..., Service]) -> Iterator[Serve]:
    """`serve(rate_limits="on")`: both servers of one service."""
    with ExitStack() as stack:

        def start(**changes: Any) -> Servers:
            service = make_service(**changes)
            portal = service.client.portal
            assert portal is not None
            ports, states = [], []
            for protocol in (Counting, Plain):
                config = make_config(service.app, host="127.0.0.1", port=0)
                config.http = protocol
                states.append(ServerState())
                listening = portal.call(_listen, config, states[-1])
                stack.callback(portal.call, _stop, listening)
                ports.append(listening.sockets[0].getsockname()[1])
            servers = Servers(service, *ports, states[0].tasks)
            stack.callback(lambda: [connection.close() for connection in servers.connections])
            stack.callback(portal.call, asyncio.sleep, 0)  # the last lines of the log are written
            return servers

        yield start


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of requests would come between the tests: the service writes them after its answer."""
    monkeypatch.setattr(logs, "_output", dataclasses.replace(logs._output, level=logging.WARNING))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


async def _listen(config: uvicorn.Config, state: ServerState) -> Any:
    config.load()
    state.default_headers = [DATE]
    return await asyncio.get_running_loop().create_server(
        lambda: config.http(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )


async def _stop(listening: Any) -> None:
    listening.close()


def request(
    token: str | None,
    body: bytes | str = b"{}",
    *fields: str,
    line: str = f"POST {VEND} HTTP/1.1",
    host: str = "testserver",
) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    lines = [line, f"Host: {host}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if not any(one.lower().startswith(("content-type", "transfer-encoding")) for one in fields):
        lines.append("Content-Type: application/json")
    if not any(one.lower().startswith("transfer-encoding") for one in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + body


def container(token: str, query: str = "", *fields: str, scheme: str = "") -> bytes:
    lines = [f"GET {CONTAINER}{query} HTTP/1.1", "Host: testserver", f"Authorization: {scheme}{token}", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


GOOD = [
    b"",
    b"{}",
    b" {} ",
    b"null",
    b'{"access": "read"}',
    b'{"access": "write"}',
    b'{"path": "albums/2026/"}',
    '{"path": "Fotos/Übersee/"}'.encode(),
    b'{"path": "albums/\\u00e9t\\u00e9/"}',
    b'{"duration_seconds": 900}',
    b'{"duration_seconds": 3600, "access": "read", "path": "a/b/"}',
    b'{"shared_part": 1}',
    b'{"grant_ids": null, "include_shared": false}',
]
BODIES = [
    b"[]",
    b"1",
    b"{",
    b"{}{}",
    b'{"a": 1}',
    b'{"access": "admin"}',
    b'{"access": null}',
    b'{"access": "read", "access": "write"}',
    b'{"path": 1}',
    b'{"path": "../"}',
    b'{"path": "/albums/"}',
    b'{"path": "albums"}',
    b'{"path": "a//b/"}',
    b'{"path": "%2e%2e/"}',
    b'{"path": "a*/"}',
    b'{"path": "${aws:userid}/"}',
    b'{"path": "a\\u0000/"}',
    b'{"path": "\\ud800/"}',
    b'{"path": "' + b"x" * 300 + b'/"}',
    b'{"path": "' + b"x" * 1025 + b'/"}',
    b'{"path": "' + b"x" * 3000 + b'/"}',
    b'{"duration_seconds": 899}',
    b'{"duration_seconds": 3601}',
    b'{"duration_seconds": 43200}',
    b'{"duration_seconds": 900.0}',
    b'{"duration_seconds": "900"}',
    b'{"duration_seconds": true}',
    b'{"duration_seconds": -1}',
    b'{"duration_seconds": NaN}',
    b'{"purpose": "upload"}',
    b'{"purpose": "upload", "path": "a/"}',
    b'{"purpose": "upload", "path": "a/", "access": "read"}',
    b'{"purpose": "download"}',
    b'{"include_shared": true}',
    b'{"include_shared": true, "access": "write"}',
    b'{"include_shared": 1}',
    b'{"grant_ids": []}',
    b'{"grant_ids": ["x"]}',
    b'{"shared_part": 0}',
    b'{"shared_part": 2}',
    b'{"include_shared": true, "shared_part": 3}',
    b"\xef\xbb\xbf{}",
    b"\xff",
    '{"path": "é/"}'.encode("latin-1"),
    b" " * 3000 + b"{}",
    b" " * 70_000 + b"{}",
    b'{"path": "' + b"[" * 100 + b'/"}',
]
FIELDS = [
    ("Content-Type: application/json; charset=utf-8",),
    ("Content-Type: APPLICATION/JSON",),
    ("Content-Type: text/plain",),
    ("Content-Type: application/x-www-form-urlencoded",),
    ("Content-Type:",),
    ("Connection: close",),
    ("Connection: keep-alive",),
    ("Connection: Keep-Alive",),
    ("Connection: keep-alive, x-own",),
    ("Origin: https://photos.example.org",),
    ("Origin: https://evil.example.org",),
    ("Origin: null",),
    ("Origin: https://photos.example.org", "Origin: https://evil.example.org"),
    ("X-Forwarded-For: 203.0.113.7",),
    ("X-Forwarded-For: nonsense",),
    ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 203.0.113.8"),
    ("X-Request-ID: 0123",),
    ("Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
    ("Accept-Encoding: gzip",),
    ("Cookie: a=b",),
    ("Cookie: a=b", "Cookie: c=d"),
    ("Content-Encoding: gzip",),
    ("Authorization: Bearer second",),
    ("Content-Type: application/json", "Content-Type: text/plain"),
    ("X-Long: " + "x" * 15_000,),
    ("X-Longer: " + "x" * 17_000,),
]
QUERIES = [
    "",
    "?access=read",
    "?access=write&path=albums/",
    "?path=albums%2F2026%2F",
    "?path=Fotos%2F%C3%9Cbersee%2F",
    "?path=",
    "?",
    "?access=",
    "?access=admin",
    "?access=read&access=write",
    "?path=a/&path=b/",
    "?path=../",
    "?path=%2e%2e/",
    "?path=a+b/",
    "?path=" + "x" * 1025 + "/",
    "?path=%ff/",
    "?unknown=1",
    "?access=read&unknown=1",
    "?access",
    "?ACCESS=read",
    "?access=read;path=a/",
]


@pytest.mark.usefixtures("quiet")
class TestSameAnswer:
    def test_to_two_hundred_requests(self, serve: Serve) -> None:
        """Whatever a route refuses is refused by the route, and what it gives is the same to the byte."""
        servers = serve(cors_origins="https://photos.example.org")
        service = servers.service
        device, disabled, ended, erased, admin, expired = sign_in(service, 6)
        token = device.access_token
        for one in (
            device,
            disabled,
            ended,
            erased,
            admin,
            expired,
        ):  # a token takes the shortcut from its second use on
            assert servers.ask(servers.plain, request(one.access_token)).startswith(b"HTTP/1.1 200 ")
        service.disable(disabled.email)
        service.sql("UPDATE users SET role = 'admin' WHERE email = :email", email=admin.email)
        assert ended.post("/v1/auth/logout", json={"refresh_token": ended.refresh_token}).status_code == 204
        service.sql("UPDATE users SET status = 'erased' WHERE email = :email", email=erased.email)
        requests = [request(token, body) for body in [*GOOD, *GOOD, *BODIES]]
        requests += [request(token, b"{}", *fields) for fields in FIELDS]
        requests += [container(token, "", *fields) for fields in FIELDS]
        requests += [container(token, query, scheme=scheme) for query in QUERIES for scheme in ("", "Bearer ")]
        requests += [
            container(token, scheme=scheme) for scheme in ("Bearer ", "bearer  ", "BEARER ", "Basic ", "Bearer")
        ]
        requests += [container("", scheme=scheme) for scheme in ("", "Bearer", "Bearer ")]
        for one in (disabled, ended, erased, admin):
            requests += [request(one.access_token), container(one.access_token)]
        forged = token[:-1] + ("A" if token[-1] != "A" else "B")
        for bad in (None, "", "x", forged, token + "x", token.upper(), f" {token}", f"{token} ", device.refresh_token):
            requests.append(request(bad))
        lines = (
            f"GET {VEND} HTTP/1.1",
            f"PUT {VEND} HTTP/1.1",
            f"HEAD {CONTAINER} HTTP/1.1",
            f"POST {VEND}/ HTTP/1.1",
            f"POST {VEND}? HTTP/1.1",
            f"POST {VEND}?a=b HTTP/1.1",
            "POST /v1/%63redentials HTTP/1.1",
            "POST //v1/credentials HTTP/1.1",
            f"POST http://testserver{VEND} HTTP/1.1",
            f"POST http://evil.example.org{VEND} HTTP/1.1",
            f"POST {VEND} HTTP/1.0",
            f"POST {VEND.upper()} HTTP/1.1",
            f"OPTIONS {VEND} HTTP/1.1",
        )
        requests += [request(token, line=line) for line in lines]
        requests += [
            request(token, host=host) for host in ("testserver:80", "TESTSERVER", "evil.example.org", "", "a:b")
        ]
        chunked = ("Transfer-Encoding: chunked",)
        requests += [request(token, body, *chunked) for body in (b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"z\r\n")]
        assert len(requests) >= 200
        taken = [servers.answers(one) for one in requests]
        assert sum(by_shortcut for _, by_shortcut in taken) > 50
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer, by_shortcut in taken if by_shortcut)
        # The second time, what is good is in the cache.
        again = taken[len(GOOD) : 2 * len(GOOD)]
        assert all(by_shortcut for _, by_shortcut in again)
        service.clock.advance(minutes=15)
        assert servers.status(request(expired.access_token)) == 401

    @pytest.mark.parametrize(
        "changes",
        [
            {"public_url": "https://testserver/tokens"},
            {"s3_endpoint_url": "http://127.0.0.1:9", "s3_public_endpoint_url": "https://s3.example.org"},
            {"s3_force_path_style": True},
            {"credential_ttl": 900},
            {"vending_mode": "federation_token"},
            {"vending_mode": "saml"},
        ],
    )
    def test_with_settings(self, serve: Serve, changes: dict[str, Any]) -> None:
        servers = serve(**changes)
        (device,) = sign_in(servers.service, 1)
        under = "/tokens" if "public_url" in changes else ""
        for path in {VEND, under + VEND}:
            asked = request(device.access_token, line=f"POST {path} HTTP/1.1")
            servers.answers(asked)
            answer, by_shortcut = servers.answers(asked)
            assert (answer.split(b" ", 2)[1], by_shortcut) == (b"200", True)

    def test_behind_a_proxy(self, serve: Serve) -> None:
        servers = serve(trusted_proxies="127.0.0.1")
        (device,) = sign_in(servers.service, 1)
        one, other = "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 203.0.113.7, 2001:db8::7"
        servers.answers(request(device.access_token, "{}", one))
        hops = [(one,), (other,), (one, other), (), ("X-Forwarded-For: nonsense",)]
        taken = [servers.answers(request(device.access_token, "{}", *fields))[1] for fields in hops]
        assert taken == [True, True, False, False, False]


@pytest.mark.usefixtures("quiet")
@pytest.mark.both_databases
class TestHolds:
    """What has been taken from somebody is taken from the next request on."""

    @pytest.fixture
    def servers(self, serve: Serve) -> Servers:
        return serve()

    @pytest.fixture
    def device(self, servers: Servers) -> Device:
        """Served by shortcut."""
        (device,) = sign_in(servers.service, 1)
        assert servers.status(request(device.access_token)) == 200
        assert servers.answers(request(device.access_token))[1]
        return device

    def test_disabling(self, servers: Servers, device: Device) -> None:
        servers.service.disable(device.email)
        assert servers.status(request(device.access_token)) == 403

    def test_signing_out(self, servers: Servers, device: Device) -> None:
        device.post("/v1/auth/logout", json={"refresh_token": device.refresh_token})
        assert servers.status(request(device.access_token)) == 401
        assert servers.status(container(device.access_token)) == 401

    def test_revocation(self, servers: Servers, device: Device) -> None:
        asked = request(device.access_token)
        before = servers.key(asked)
        assert device.post("/v1/credentials/revoke").status_code == 202
        servers.service.clock.advance(seconds=2)
        assert servers.key(asked) != before

    def test_a_quota_that_was_set(self, servers: Servers, device: Device) -> None:
        servers.service.sql("UPDATE users SET quota_bytes = 1 WHERE email = :email", email=device.email)
        assert servers.status(request(device.access_token)) == 200
        servers.service.sql("UPDATE usage SET bytes = 2")
        assert servers.status(request(device.access_token)) == 403
        assert servers.status(container(device.access_token)) == 403

    def test_an_administrator_needs_a_second_factor(self, serve: Serve) -> None:
        """The shortcut is for users: what administrators may do is decided by the route."""
        servers = serve(
            environment="production",
            public_url="https://testserver",
            AWS_REGION="us-east-1",
            email_verification="off",
            smtp_url="smtps://user:password@mail.example.org",
            mail_from="Photos <photos@example.org>",
            rate_limits="on",
        )
        (device,) = sign_in(servers.service, 1)
        asked = request(device.access_token)
        assert servers.answers(asked)[1]
        servers.service.sql("UPDATE users SET role = 'admin' WHERE email = :email", email=device.email)
        assert servers.status(asked) == 403

    def test_times_are_true(self, servers: Servers, device: Device) -> None:
        servers.service.clock.advance(minutes=5, seconds=1)
        answer, by_shortcut = servers.answers(request(device.access_token))
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert by_shortcut
        assert (body["expires_in"], body["server_time"]) == (3299, "2026-06-01T12:05:01Z")

    def test_an_sdk_gets_none_that_it_would_renew_at_once(self, serve: Serve) -> None:
        """boto3 asks before each call from fifteen minutes before the end."""
        servers = serve(credential_ttl=1800)
        (device,) = sign_in(servers.service, 1)
        asked = container(device.access_token)
        assert [servers.answers(asked)[1] for _ in range(2)] == [True, True]
        servers.service.clock.advance(seconds=809)
        assert servers.answers(asked)[1]
        before = servers.key(asked)
        servers.service.clock.advance(seconds=1)
        assert servers.key(asked) != before

    def test_half_of_its_life_is_the_end_of_a_cached_one(self, servers: Servers) -> None:
        (device,) = sign_in(servers.service, 1)
        asked = request(device.access_token, '{"duration_seconds": 900}')
        assert servers.answers(asked)[1]
        before = servers.key(asked)
        servers.service.clock.advance(seconds=450)
        assert servers.key(asked) != before


@pytest.mark.usefixtures("quiet")
class TestLimit:
    def test_counts_both_ways_together(self, serve: Serve) -> None:
        servers = serve(rate_limits="on")
        (device,) = sign_in(servers.service, 1)
        asked = request(device.access_token)
        statuses = [servers.ask(port, asked)[9:12] for port in (servers.plain, servers.short) * 30]
        assert statuses == [b"200"] * 60
        assert servers.ask(servers.short, asked)[9:12] == b"429"
        assert servers.status(asked) == 429
        servers.service.clock.advance(minutes=1)
        assert servers.status(asked) == 200

    def test_of_container_answers_counts_both_ways_together_by_session(self, serve: Serve) -> None:
        servers = serve(rate_limits="on")
        phone = servers.service.device("ada@example.org")
        shell = servers.service.device("ada@example.org")
        taken = self.use_up(servers, shell)
        assert taken == 599
        assert servers.status(container(shell.access_token)) == 429
        assert servers.status(container(phone.access_token)) == 200
        assert servers.status(request(shell.access_token)) == 200

    @pytest.mark.all
    def test_of_container_answers_is_counted_in_redis(self, serve: Serve, redis: RedisServer) -> None:
        servers = serve(rate_limits="on", rate_limit_url=redis.url)
        (shell,) = sign_in(servers.service, 1)
        self.use_up(servers, shell)
        assert servers.ask(servers.plain, container(shell.access_token))[9:12] == b"429"
        assert servers.status(request(shell.access_token)) == 200

    def use_up(self, servers: Servers, shell: Device) -> int:
        """The answers by shortcut until the first refusal, asked for on one connection."""
        asked, before = container(shell.access_token), Counting.taken
        assert servers.ask(servers.plain, asked)[9:12] == b"200"
        connection = servers.connect(servers.short)
        statuses = []
        for _ in range(600):
            connection.send(asked)
            statuses.append(connection.answer().status)
        assert statuses == [200] * 599 + [429]
        return Counting.taken - before

    @pytest.mark.all
    def test_is_counted_in_redis_where_replicas_share_it(self, serve: Serve, redis: RedisServer) -> None:
        servers = serve(rate_limits="on", rate_limit_url=redis.url)
        (device,) = sign_in(servers.service, 1)
        asked = request(device.access_token)
        before = Counting.taken
        assert [servers.ask(port, asked)[9:12] for port in (servers.plain, servers.short) * 30] == [b"200"] * 60
        assert Counting.taken - before == 30
        assert servers.ask(servers.short, asked)[9:12] == b"429"
        assert servers.ask(servers.plain, asked)[9:12] == b"429"
        assert Counting.taken - before == 30


@pytest.mark.usefixtures("quiet")
class TestObtains:
    """What is not cached is obtained as by the route."""

    @pytest.fixture
    def servers(self, serve: Serve) -> Servers:
        return serve(rate_limits="on")

    @pytest.fixture
    def token(self, servers: Servers) -> str:
        (device,) = sign_in(servers.service, 1)
        servers.answers(request(device.access_token))
        return device.access_token

    def test_with_a_row_in_the_ledger_that_names_the_request(self, servers: Servers, token: str) -> None:
        before, connection = Counting.taken, servers.connect(servers.short)
        connection.send(request(token, '{"path": "albums/new/", "access": "read"}'))
        answer = connection.answer()
        assert (answer.status, Counting.taken) == (200, before + 1)
        assert answer.json["prefix"].endswith("/albums/new/")
        sql = "SELECT access_key_id, access FROM issued_credentials WHERE prefix = :prefix"
        assert servers.service.sql(sql, prefix=answer.json["prefix"]) == [(answer.json["access_key_id"], "read")]
        sql = "SELECT address FROM audit_events WHERE event = 'credential.issued' AND request_id = :id"
        assert servers.service.sql(sql, id=answer.headers["x-request-id"]) == [("127.0.0.1",)]

    def test_an_upload_lease_too(self, servers: Servers, token: str) -> None:
        before, connection = Counting.taken, servers.connect(servers.short)
        connection.send(request(token, '{"path": "albums/new/", "purpose": "upload"}'))
        answer = connection.answer()
        assert (answer.status, answer.json["access"], Counting.taken) == (200, "write", before + 1)

    def test_but_not_what_others_share(self, servers: Servers, token: str) -> None:
        _, by_shortcut = servers.answers(request(token, '{"include_shared": true}'))
        assert not by_shortcut

    def test_until_there_were_too_many(self, servers: Servers, token: str) -> None:
        then = servers.service.clock.now() - NEWCOMER_FOR
        servers.service.sql("UPDATE users SET created_at = :then", then=then)
        connection = servers.connect(servers.short)
        for number in range(29):
            connection.send(request(token, f'{{"path": "a{number}/"}}'))
            assert connection.answer().status == 200
        refused, by_shortcut = servers.answers(request(token, '{"path": "z/"}'))
        assert (refused.split(b" ", 2)[1], by_shortcut) == (b"429", False)
        assert b"retry-after: 60" in refused
        connection.send(request(token, '{"path": "a0/"}'))
        assert connection.answer().status == 200

    def test_a_server_that_stops_waits_for_it(
        self, servers: Servers, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vending = servers.service.runtime.vending
        issue, begun, may_go_on = vending._issue, threading.Event(), asyncio.Event()

        async def issue_later(*args: Any, **named: Any) -> Any:
            begun.set()
            await may_go_on.wait()
            return await issue(*args, **named)

        monkeypatch.setattr(vending, "_issue", issue_later)
        connection = servers.connect(servers.short)
        connection.send(request(token, '{"path": "new/"}'))
        assert begun.wait(5)
        portal = servers.service.client.portal
        assert portal is not None
        assert len(servers.waited_for) == 1
        portal.call(may_go_on.set)
        assert connection.answer().status == 200


class TestTrace:
    """What operators see of an answer by shortcut."""

    @pytest.mark.parametrize("step", ["find", "hand_out"])
    def test_a_fault_of_a_shortcut_is_logged_and_the_route_answers(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        def fail(*_args: object) -> None:
            raise RuntimeError("a fault")

        servers = serve()
        (device,) = sign_in(servers.service, 1)
        servers.answers(request(device.access_token))
        monkeypatch.setattr(Vend, step, fail)
        with capture_logs() as logged:
            answer, by_shortcut = servers.answers(request(device.access_token))
        assert (answer.split(b" ", 2)[1], by_shortcut) == (b"200", False)
        assert [one["event"] for one in logged if one["log_level"] == "error"] == ["shortcut_failed"]

    @pytest.mark.parametrize(
        ("error", "status", "event"),
        [
            (RuntimeError("a fault"), b"500", "unhandled_exception"),
            (StsUnavailable(cause="a time-out", retry_after=2), b"503", "problem"),
        ],
    )
    def test_what_fails_on_the_way_is_logged_and_answered(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch, error: Exception, status: bytes, event: str
    ) -> None:
        async def fail(*_args: object, **_named: object) -> None:
            raise error

        servers = serve()
        (device,) = sign_in(servers.service, 1)
        token = device.access_token
        servers.answers(request(token))
        monkeypatch.setattr(servers.service.runtime.vending, "_issue", fail)
        with capture_logs() as logged:
            answer, _ = servers.answers(request(token, '{"path": "new/"}'))
            servers.service.client.get("/healthz")  # the line of the answer is written by then
        assert answer.startswith(b"HTTP/1.1 %b " % status)
        own = {"request_id", "ms", "timestamp", "exc_info", "exception", "frames"}
        lines = [{name: one[name] for name in one.keys() - own} for one in logged]
        by_route, by_shortcut = lines[: len(lines) // 2], lines[len(lines) // 2 :]
        assert [one["event"] for one in by_route] == [event, "request"]
        assert by_route == by_shortcut
        assert by_route[1]["route"] == VEND

    def test_log_line_and_metrics_are_those_of_the_route(
        self, serve: Serve, capsys: pytest.CaptureFixture[str]
    ) -> None:
        servers = serve()
        (device,) = sign_in(servers.service, 1)
        servers.answers(request(device.access_token))
        lines = []
        for port in (servers.plain, servers.short):
            servers.service.client.get("/healthz")  # what was answered before is logged by then
            capsys.readouterr()
            connection = servers.connect(port)
            connection.send(request(device.access_token))
            answer = connection.answer()
            servers.service.client.get("/healthz")
            line = json.loads(capsys.readouterr().err)
            assert line.pop("request_id") == answer.headers["x-request-id"]
            assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line.pop("timestamp"))
            lines.append(line)
        assert lines[0] == lines[1]
        assert list(lines[0]) == list(lines[1])
        counted = servers.service.client.get("/metrics").text
        assert 'tokenvend_http_seconds_count{method="POST",route="/v1/credentials",status="200"} 4.0' in counted
        assert 'tokenvend_vends_total{source="memory"} 3.0' in counted


class TestConnection:
    """Order, ends and pauses of a connection are those of any other request."""

    @pytest.fixture
    def servers(self, serve: Serve) -> Servers:
        return serve()

    @pytest.fixture
    def token(self, servers: Servers) -> str:
        (device,) = sign_in(servers.service, 1)
        servers.answers(request(device.access_token))
        return device.access_token

    @pytest.mark.usefixtures("quiet")
    def test_pipelined_requests_are_answered_in_order(self, servers: Servers, token: str) -> None:
        get = b"GET /healthz HTTP/1.1\r\nHost: testserver\r\n\r\n"
        connection = servers.connect(servers.short)
        connection.send(request(token) + get + request(token) + request(token, "{") + container(token))
        answers = [connection.answer() for _ in range(5)]
        assert [one.status for one in answers] == [200, 200, 200, 400, 200]
        assert ["access_key_id" in one.json for one in answers] == [True, False, True, False, False]
        assert "AccessKeyId" in answers[4].json

    @pytest.mark.usefixtures("quiet")
    def test_a_body_may_come_in_pieces(self, servers: Servers, token: str) -> None:
        connection = servers.connect(servers.short)
        for byte in request(token, '{"path": ""}'):
            connection.send(bytes([byte]))
        assert connection.answer().status == 200

    def test_a_body_that_ends_early_is_seen_by_the_application(self, servers: Servers, token: str) -> None:
        with capture_logs() as logged:
            connection = servers.connect(servers.short)
            connection.send(request(token, "{}")[:-1])
            servers.service.client.get("/healthz")
            connection.close()
            while not any(one["event"] == "client_disconnected" for one in logged):
                servers.service.client.get("/healthz")

    @pytest.mark.usefixtures("quiet")
    def test_a_server_that_stops_says_so(self, servers: Servers, token: str) -> None:
        answer = servers.ask(servers.short, request(token, "{}", "Connection: close"))
        assert b"connection: close\r\n" in answer
