"""Development has fewer guards than production, so it answers its own machine alone."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import uvicorn
from starlette.testclient import TestClient

from app.cli import commands
from app.http import server
from tests.security.observed import LiveServer, assert_problem
from tests.support.relay import relay
from tests.support.service import PASSWORD, ROLE_ARN, SECRET_KEY, Service

ELSEWHERE = ("192.0.2.7", 50_000)
Serve = Callable[..., uvicorn.Config]


def own_addresses() -> list[str]:
    """Of this machine's network interfaces, if it has any but the loopback."""
    found = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    return [a.address for a in found if a.family == socket.AF_INET and not a.address.startswith("127.")]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """`tokenvend serve` up to where it would listen: with what configuration."""
    served: list[uvicorn.Config] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "run", lambda configuration, **_: served.append(configuration))
    monkeypatch.setattr(commands, "configure_logging", lambda _level: None)
    database = tmp_path / "any.db"
    database.touch()
    given = {
        "SECRET_KEY": SECRET_KEY,
        "BUCKET": "photos",
        "ROLE_ARN": ROLE_ARN,
        "DATABASE_URL": f"sqlite:///{database}",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"TOKENVEND_{name}", value)

    def serve(*arguments: str, **variables: str) -> uvicorn.Config:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        commands.cli(["serve", *arguments], standalone_mode=False)
        return served.pop()

    return serve


class TestBinding:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "example.org", *own_addresses()[:1]])
    def test_to_another_address_than_the_loopback_is_refused(
        self, serve: Serve, host: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """OP7: with a sentence that says what to set, before anything listens."""
        with pytest.raises(SystemExit) as refused:
            serve("--host", host)
        assert refused.value.code == 1
        said = capsys.readouterr().err
        assert said.startswith(f"--host {host}: development answers this machine alone")
        assert "TOKENVEND_ENVIRONMENT=production" in said
        assert "TOKENVEND_DEVELOPMENT_REMOTE=on" in said

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_to_the_loopback_is_taken(self, serve: Serve, host: str) -> None:
        assert serve("--host", host).host == host

    def test_to_another_address_is_taken_where_it_is_said(self, serve: Serve) -> None:
        assert serve("--host", "0.0.0.0", TOKENVEND_DEVELOPMENT_REMOTE="on").host == "0.0.0.0"

    def test_to_another_address_is_what_production_does(self, serve: Serve) -> None:
        production = {
            "TOKENVEND_ENVIRONMENT": "production",
            "TOKENVEND_DATABASE_URL": "sqlite:///any.db",
            "TOKENVEND_PUBLIC_URL": "https://tokens.example.org",
            "TOKENVEND_SMTP_URL": "smtp://127.0.0.1:9",
            "TOKENVEND_MAIL_FROM": "photos@example.org",
            "AWS_REGION": "eu-central-1",
        }
        assert serve("--host", "0.0.0.0", **production).host == "0.0.0.0"


class TestOtherMachines:
    def test_are_refused_whichever_server_runs_the_application(self, make_on_sqlite: Callable[..., Service]) -> None:
        """OP7: the application cannot know where its server listens, but it sees who asks."""
        service = make_on_sqlite()
        client = TestClient(service.app, client=ELSEWHERE)
        for path in ("/healthz", "/demo", "/demo/mailbox", "/docs", "/v1/me"):
            assert_problem(client.get(path), 403, "local_only")
        body = {"email": "ada@example.org", "password": PASSWORD}
        assert_problem(client.post("/v1/users", json=body), 403, "local_only")
        assert service.sql("SELECT count(*) FROM users") == [(0,)]

    def test_are_answered_where_it_is_said_but_see_no_mail_and_no_metrics(
        self, make_on_sqlite: Callable[..., Service]
    ) -> None:
        """OP7: what opens accounts stays on the machine."""
        service = make_on_sqlite(development_remote="on")
        client = TestClient(service.app, client=ELSEWHERE)
        assert client.get("/healthz").status_code == 200
        assert client.get("/demo").status_code == 200
        for path in ("/demo/mailbox", "/metrics"):
            assert_problem(client.get(path), 403, "local_only")
            assert service.client.get(path).status_code == 200

    def test_have_no_administrator_without_a_second_factor(self, make_on_sqlite: Callable[..., Service]) -> None:
        """OP7, AZ7: a password alone administers only from the machine itself."""
        service = make_on_sqlite(development_remote="on")
        admin = service.staff()
        assert admin.get("/v1/admin/users").status_code == 200
        elsewhere = TestClient(service.app, client=ELSEWHERE)
        assert_problem(elsewhere.get("/v1/admin/users", headers=admin.headers), 403, "mfa_required")
        by_proxy = admin.headers | {"X-Forwarded-For": "127.0.0.1"}
        assert_problem(service.client.get("/v1/admin/users", headers=by_proxy), 403, "mfa_required")

    def test_are_answered_by_production(
        self, make_on_sqlite: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        service = make_on_sqlite(
            environment="production",
            rate_limits="on",
            public_url="https://testserver",
            smtp_url="smtp://127.0.0.1:9",
            mail_from="photos@example.org",
        )
        assert TestClient(service.app, client=ELSEWHERE).get("/healthz").status_code == 200


class TestMailbox:
    """Over real connections to `tokenvend serve`."""

    def test_answers_this_machine(self, live_server: LiveServer) -> None:
        answer = live_server.ask("GET", "/demo/mailbox")
        assert answer.status == 200
        assert isinstance(json.loads(answer.body), list)

    @pytest.mark.parametrize(
        "field",
        [
            *(("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Proto", "https"), ("Forwarded", "for=127.0.0.1")),
            *(("X-Real-IP", "127.0.0.1"), ("Via", "1.1 proxy"), ("x-forwarded-for", "")),
        ],
    )
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000"])
    def test_answers_nobody_behind_a_proxy(self, live_server: LiveServer, field: tuple[str, str], host: str) -> None:
        """OP7: a proxy on the same machine is a loopback peer, and Host is what its client likes."""
        answer = live_server.ask("GET", "/demo/mailbox", [("Host", host), field])
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "local_only")

    @pytest.mark.parametrize(
        ("fields", "version"),
        [
            ((b"X-Forwarded-For: 127.0.0.1",), b"HTTP/1.1"),
            ((b"Forwarded: for=_hidden",), b"HTTP/1.1"),
            ((b"Via: 1.1 relay",), b"HTTP/1.1"),
            ((), b"HTTP/1.0"),
        ],
    )
    def test_answers_no_proxy_on_this_machine(
        self, live_server: LiveServer, fields: tuple[bytes, ...], version: bytes
    ) -> None:
        """OP7."""
        with relay(live_server.port, *fields, version=version) as port:
            through = LiveServer(port, live_server.directory, live_server.sts)
            for path, status in (("/demo/mailbox", 403), ("/metrics", 403), ("/healthz", 200)):
                assert through.ask("GET", path).status == status

    def test_answers_no_unix_socket(self, make_on_sqlite: Callable[..., Service], tmp_path: Path) -> None:
        """OP7: a proxy is behind it; run by a server that is not ours, which believes X-Forwarded-For."""
        service = make_on_sqlite(development_remote="on")
        path = str(tmp_path / "s")
        with (
            served(uvicorn.Config(service.app, uds=path, lifespan="off", log_config=None)),
            socket.socket(socket.AF_UNIX) as client,
        ):
            client.connect(path)
            client.sendall(b"GET /demo/mailbox HTTP/1.1\r\nHost: testserver\r\nConnection: close\r\n\r\n")
            answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b'"local_only"' in answer


@contextmanager
def served(config: uvicorn.Config) -> Iterator[None]:
    """By uvicorn alone, in a thread."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    running = Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        assert started.wait(30)
        yield
    finally:
        running.should_exit = True
        thread.join()
