"""`tokenvend creds --serve`: whom it answers, what with, and when it ends."""

import json
import os
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from typing import Any

import pytest

from app.client import agent as agents
from app.client.agent import Agent, serving
from app.client.session import Session
from tests.client.canned_service import CONTAINER, CannedService
from tests.client.conftest import EMAIL, Terminal, found, one_sentence, printed

SERVE = ("tokenvend", "creds", "--format", "env", "--serve")


@pytest.fixture
def agent(signed_in: Terminal) -> Iterator[Agent]:
    with serving(signed_in.store, port=0, access="read", path="a b/") as agent:
        yield agent


def port_of(url: str) -> int:
    match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/credentials", url)
    assert match is not None
    return int(match[1])


def ask(agent: Agent, *lines: str, path: str = "/credentials", method: str = "GET") -> tuple[int, dict[str, Any]]:
    """With these lines for a head, and no other."""
    connection = HTTPConnection("127.0.0.1", port_of(agent.url), timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for line in lines:
        connection.putheader(*line.split(": ", 1))
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    assert answer.headers["Server"].strip() in ("tokenvend", "")
    connection.close()
    return answer.status, json.loads(content) if answer.headers["Content-Type"] == "application/json" else {}


def good(agent: Agent) -> tuple[str, ...]:
    return f"Host: 127.0.0.1:{port_of(agent.url)}", f"Authorization: {agent.bearer}"


class TestAnswers:
    def test_are_those_of_the_container_endpoint(self, agent: Agent, canned: CannedService) -> None:
        assert ask(agent, *good(agent)) == (200, CONTAINER)
        assert canned.calls == [("credentials/container?access=read&path=a+b%2F", {})]
        assert canned.authorizations[1:] == ["Bearer access-1"]

    def test_follow_the_session(self, agent: Agent, signed_in: Terminal, canned: CannedService) -> None:
        signed_in.age()
        assert ask(agent, *good(agent)) == (200, CONTAINER)
        assert canned.authorizations[-1] == "Bearer access-2"
        canned.generation += 1  # as if another process had renewed it, or the service had changed its keys
        tokens = signed_in.store.get().tokens._replace(refresh_token="refresh-3")
        signed_in.store.keep(Session(canned.url, EMAIL, tokens))
        assert ask(agent, *good(agent)) == (200, CONTAINER)

    def test_never_come_from_another_account(
        self, agent: Agent, terminal: Terminal, canned: CannedService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The shell says where the first one's S3 is."""
        terminal.log_in(canned.url, "grace@example.org")
        canned.calls.clear()
        status, told = ask(agent, *good(agent))
        assert (status, told["code"], canned.calls) == (401, "signed_out", [])
        assert told["message"] == (
            f"Another account has signed in: run `tokenvend login --url {canned.url} --email {EMAIL}`"
        )
        terminal.log_in(canned.url)
        assert ask(agent, *good(agent)) == (200, CONTAINER)

    def test_end_with_the_session(self, agent: Agent, terminal: Terminal, canned: CannedService) -> None:
        assert terminal.tokenvend("logout").returncode == 0
        canned.calls.clear()
        assert (ask(agent, *good(agent))[0], canned.calls) == (401, [])

    @pytest.mark.parametrize("status", [403, 429, 503])
    def test_of_the_service_are_passed_on(self, agent: Agent, canned: CannedService, status: int) -> None:
        refusal = {"code": "canned", "detail": "No."}
        path = "credentials/container?access=read&path=a+b%2F"
        canned.fail(path, status, body=refusal, Content_Type="application/json")
        assert ask(agent, *good(agent)) == (status, refusal)

    def test_tell_of_a_service_that_is_away_once(
        self, agent: Agent, canned: CannedService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = "credentials/container?access=read&path=a+b%2F"
        canned.lose(path, times=2)
        assert [ask(agent, *good(agent))[0] for _ in range(3)] == [503, 503, 200]
        assert capsys.readouterr().err == (
            f"{canned.url} cannot be reached (RemoteDisconnected): check it and try again\n"
        )

    def test_tell_how_to_sign_in_when_the_session_is_over(
        self, agent: Agent, signed_in: Terminal, canned: CannedService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Most programs do not show what they were told."""
        signed_in.age()
        canned.fail("auth/refresh", 401, body={"code": "invalid_refresh_token", "detail": "Over."}, times=2)
        for _ in range(2):
            status, told = ask(agent, *good(agent))
            assert (status, told["code"]) == (401, "signed_out")
        assert capsys.readouterr().err == f"{told['message']}\n"
        assert told["message"].startswith("Your session has ended: run `tokenvend login")


class TestRefuses:
    """And does not ask the service."""

    def refused(self, agent: Agent, canned: CannedService, *lines: str, **more: str) -> int:
        status, told = ask(agent, *lines, **more)
        assert canned.calls == []
        assert CONTAINER["AccessKeyId"] not in json.dumps(told)
        return status

    def test_whoever_lacks_the_bearer(self, agent: Agent, canned: CannedService) -> None:
        host, bearer = good(agent)
        wrong = f"Authorization: {agent.bearer[:-1]}{'A' if agent.bearer[-1] != 'A' else 'B'}"
        for lines in (
            (),
            ("Authorization: ",),
            (wrong,),
            (f"{bearer}x",),
            (f"Authorization: Bearer {agent.bearer}",),
            ("Authorization: \xe9",),
            (bearer, bearer),
            (bearer, wrong),
        ):
            assert self.refused(agent, canned, host, *lines) == 401, lines

    def test_another_host(self, agent: Agent, canned: CannedService) -> None:
        """A page whose name leads to 127.0.0.1 sends its own."""
        host, bearer = good(agent)
        port = port_of(agent.url)
        for hosts in (
            (),
            ("Host: evil.example.org",),
            (f"Host: evil.example.org:{port}",),
            ("Host: 127.0.0.1",),
            (f"Host: 127.0.0.1:{port + 1}",),
            (f"Host: 127.0.0.1:{port}.example.org",),
            (host, "Host: evil.example.org"),
        ):
            assert self.refused(agent, canned, *hosts, bearer) == 403, hosts
        assert ask(agent, f"Host: localhost:{port}", bearer)[0] == 200

    def test_another_call(self, agent: Agent, canned: CannedService) -> None:
        for path in ("/", "/credentials/", "/credentials?access=read_write", "/v1/credentials"):
            assert self.refused(agent, canned, *good(agent), path=path) == 404
        for method in ("POST", "PUT", "OPTIONS"):
            assert self.refused(agent, canned, *good(agent), method=method) == 501

    def test_every_start_has_another_bearer(self, agent: Agent, signed_in: Terminal) -> None:
        with serving(signed_in.store, port=0, access="read", path="") as other:
            assert other.bearer != agent.bearer
            assert len(other.bearer) >= 43

    def test_listens_on_the_loopback_alone(self, agent: Agent) -> None:
        """On Linux all of 127.0.0.0/8 is this machine, and whatever listens everywhere listens there."""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port_of(agent.url)))


class TestStrangers:
    """Everybody on this machine may connect, and so may every page in its browser."""

    def test_who_say_nothing_make_room_for_others(
        self, signed_in: Terminal, canned: CannedService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agents, "PATIENCE", 300.0)
        before = threading.active_count()
        with serving(signed_in.store, port=0, access="read", path="") as agent:
            strangers = [connection(agent) for _ in range(agents.MOST_WAITING + 20)]
            assert ask(agent, *good(agent)) == (200, CONTAINER)
            assert [stranger.recv(1) for stranger in strangers[:20]] == [b""] * 20
            while threading.active_count() > before + agents.MOST_WAITING + 4:
                pass
            for stranger in strangers:
                stranger.close()

    def test_who_hang_up_write_nothing_on_the_terminal(self, agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
        before = threading.active_count()
        stranger = connection(agent)
        while threading.active_count() == before:
            pass
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        stranger.close()
        while threading.active_count() > before:
            pass
        assert capsys.readouterr().err == ""


def connection(agent: Agent) -> socket.socket:
    """That has sent a part of a request."""
    stranger = socket.create_connection(("127.0.0.1", port_of(agent.url)), timeout=60)
    stranger.sendall(b"GET /credentials")
    return stranger


def variables(terminal: Terminal, script: str) -> Mapping[str, str]:
    """What a shell has after it evaluated the script."""
    done = terminal.run("sh", "-c", f"{script}; env -0")
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)


class TestCommand:
    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_serves_until_it_is_told_to_end(
        self, signed_in: Terminal, canned: CannedService, ending: signal.Signals
    ) -> None:
        process = signed_in.start(*SERVE, "--access", "read")
        try:
            seen = variables(signed_in, printed(process).rstrip())
            agent = Agent(seen["AWS_CONTAINER_CREDENTIALS_FULL_URI"], seen["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
            assert ask(agent, *good(agent)) == (200, CONTAINER)
            assert canned.calls[-1] == ("credentials/container?access=read&path=", {})
            assert seen["CREDS_AGENT_PID"] == str(process.pid)
            assert seen["AWS_REGION"] == "us-east-1"
            assert "AWS_ACCESS_KEY_ID" not in seen
            process.send_signal(ending)
            _, complaints = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert (process.returncode, complaints) == (0, "")
        with pytest.raises(ConnectionRefusedError):
            ask(agent, *good(agent))

    def test_keeps_the_session_that_it_is_just_renewing(self, signed_in: Terminal, canned: CannedService) -> None:
        """Its refresh token is used up by then."""
        renewing, told = threading.Event(), threading.Event()

        def before_answer(path: str) -> None:
            if path == "auth/refresh":
                renewing.set()
                assert told.wait(60)

        process = signed_in.start(*SERVE)
        try:
            seen = variables(signed_in, printed(process).rstrip())
            agent = Agent(seen["AWS_CONTAINER_CREDENTIALS_FULL_URI"], seen["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
            signed_in.age()
            canned.before_answer = before_answer
            with connection(agent) as asking:
                asking.sendall("\r\n".join((" HTTP/1.1", *good(agent), "", "")).encode())
                assert renewing.wait(60)
                process.terminate()
                watched = os.pidfd_open(process.pid)
                assert not ended(watched, 1.5)
                os.close(watched)
                told.set()
                process.communicate(timeout=60)
        finally:
            told.set()
            process.kill()
            process.wait()
        assert signed_in.store.get().tokens.refresh_token == "refresh-2"

    @pytest.mark.parametrize("shell", ["bash", "dash", "fish"])
    def test_keys_of_the_terminal_are_for_others(self, signed_in: Terminal, canned: CannedService, shell: str) -> None:
        """Ctrl-C at the prompt, to start a line anew, is a signal to all that shares the shell's process group."""
        load = f'eval "$({shlex.join(SERVE)} &)"; trap : INT'
        if shell == "fish":
            load = "sh -c 'tokenvend creds --serve --format fish &' | source; trap : INT"
        with subprocess.Popen(
            [found(shell), "-c", f"{load}; kill -INT 0; env -0; exec sleep 60 >&-"],
            env=signed_in.environment,
            cwd=signed_in.home,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as leader:
            assert leader.stdout is not None
            seen = dict(entry.split("=", 1) for entry in leader.stdout.read().split("\0") if "=" in entry)
            process = os.pidfd_open(int(seen["CREDS_AGENT_PID"]))
            assert not ended(process, 1.5)
            agent = Agent(seen["AWS_CONTAINER_CREDENTIALS_FULL_URI"], seen["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
            assert ask(agent, *good(agent)) == (200, CONTAINER)
            assert os.getpgid(int(seen["CREDS_AGENT_PID"])) != leader.pid, "Ctrl-Z would stop it"
            leader.kill()
            leader.wait()
            assert ended(process, 60)
            os.close(process)

    def test_ends_with_the_program_that_started_it(self, signed_in: Terminal) -> None:
        with signed_in.start("sh", "-c", f"{shlex.join(SERVE)}; true") as parent:
            assert parent.stdout is not None
            line = next(line for line in parent.stdout if "CREDS_AGENT_PID" in line)
            self.ends_after(parent, line)

    def test_ends_with_its_terminal(self, signed_in: Terminal) -> None:
        """As a shell evaluates it: the process that started it has ended long before."""
        script = f'eval "$({shlex.join(SERVE)} &)"; echo "CREDS_AGENT_PID=$CREDS_AGENT_PID"; exec >&-; sleep 60'
        with subprocess.Popen(
            ["sh", "-c", script],
            env=signed_in.environment,
            cwd=signed_in.home,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as leader:
            assert leader.stdout is not None
            self.ends_after(leader, leader.stdout.read())

    def ends_after(self, parent: "subprocess.Popen[str]", text: str) -> None:
        match = re.search(r"CREDS_AGENT_PID='?(\d+)", text)
        assert match is not None
        agent = os.pidfd_open(int(match[1]))
        try:
            # It has looked at its parent once, and would go on.
            assert not ended(agent, 2.5)
            parent.kill()
            assert ended(agent, 60), "also before anybody has waited for the parent"
            parent.wait()
        finally:
            os.close(agent)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--format", "process", "--serve"),
            ("--format", "env", "--serve", "--duration", "900"),
            ("--format", "env", "--serve", "--token-file", "token"),
            ("--format", "env", "--port", "8000"),
            ("--format", "env", "--serve", "--port", "65536"),
        ],
    )
    def test_a_wrong_option_is_a_usage_error(self, signed_in: Terminal, arguments: tuple[str, ...]) -> None:
        assert signed_in.tokenvend("creds", *arguments).returncode == 2

    def test_prints_nothing_where_a_credential_is_refused(self, signed_in: Terminal, canned: CannedService) -> None:
        canned.fail("credentials", 422, body={"code": "invalid_path", "detail": "The path must end in `/`."})
        assert one_sentence(signed_in.tokenvend(*SERVE[1:], "--path", "albums")) == "The path must end in `/`."

    def test_a_port_that_is_taken_is_one_sentence(self, signed_in: Terminal, canned: CannedService) -> None:
        port = canned.url.rpartition(":")[2]
        assert one_sentence(signed_in.tokenvend(*SERVE[1:], "--port", port)) == "Address already in use"


def ended(process: int, seconds: float) -> bool:
    """Whether the process of this descriptor ends within so many seconds."""
    return bool(select.select([process], [], [], seconds)[0])
