"""`tokenvend creds` with a service that fails in every way it can."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.client import commands, credentials
from app.client.service import PAUSES, ClientError, Refused, Service, Unavailable
from app.client.session import Session, SignedOut
from tests.client.canned_service import CREDENTIAL, CannedService
from tests.client.conftest import EMAIL, Terminal, one_sentence, printed


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would have waited between its tries."""
    waited: list[float] = []
    monkeypatch.setattr("app.client.service.time.sleep", waited.append)
    return waited


@pytest.fixture
def silent_port() -> int:
    """A port at which nobody listens."""
    service = CannedService()
    port = int(service.url.rpartition(":")[2])
    service.close()
    return port


def vend(terminal: Terminal) -> dict[str, object]:
    return credentials.vend(terminal.store, access="read", path="", duration=None)


class TestCreds:
    def test_asks_for_what_was_asked(self, signed_in: Terminal, canned: CannedService) -> None:
        done = signed_in.tokenvend(
            "creds", "--access", "write", "--path", "albums/2026/", "--duration", "900", "--format", "json"
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == CREDENTIAL
        wish = {"access": "write", "path": "albums/2026/", "duration_seconds": 900}
        assert canned.calls == [("credentials", wish)]
        assert canned.authorizations[-1] == "Bearer access-1"

    def test_says_how_to_sign_in(self, terminal: Terminal) -> None:
        said = one_sentence(terminal.tokenvend("creds", "--format", "env"))
        assert said == "You are not signed in: run `tokenvend login --url URL --email EMAIL`"

    @pytest.mark.parametrize("arguments", [(), ("--format", "csh"), ("--format", "env", "--access", "admin")])
    def test_a_wrong_option_is_a_usage_error(self, terminal: Terminal, arguments: tuple[str, ...]) -> None:
        assert terminal.tokenvend("creds", *arguments).returncode == 2

    def test_a_refusal_is_the_services_sentence(self, signed_in: Terminal, canned: CannedService) -> None:
        canned.fail("credentials", 422, body={"code": "invalid_path", "detail": "The path must end in `/`."})
        done = signed_in.tokenvend("creds", "--format", "env", "--path", "albums")
        assert one_sentence(done) == "The path must end in `/`."

    def test_imports_nothing_of_the_server(self) -> None:
        """What the server needs takes seconds to import, and an SDK waits for `creds`."""
        code = "import sys, app.client.commands; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        ours = [name for name in loaded if name.startswith("app.") and not name.startswith("app.client")]
        assert ours == []
        assert {"boto3", "botocore", "fastapi", "pydantic", "sqlalchemy"}.isdisjoint(loaded)


class TestPlainly:
    """An SDK starts `creds` for each command, so the plain ways to call it go past the parser of the others."""

    def test_little_is_imported(self, signed_in: Terminal) -> None:
        code = (
            "import sys; sys.argv[1:] = ['creds', '--format', 'process']; from app.__main__ import main; main(); "
            "print(*sys.modules, file=sys.stderr)"
        )
        done = signed_in.run(sys.executable, "-c", code)
        assert json.loads(done.stdout)["AccessKeyId"] == CREDENTIAL["access_key_id"]
        loaded = set(done.stderr.split())
        assert "app.client.credentials" in loaded
        assert {"typer", "click", "rich", "urllib3", "urllib.request", "dataclasses", "asyncio"}.isdisjoint(loaded)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--format", "process"),
            ("--format=env",),
            ("--format", "json", "--access", "read", "--path", "albums/", "--duration", "900"),
            ("--path=", "--format=powershell", "--duration=3600"),
            ("--format", "process", "--format", "env"),
            ("--format", "process", "--duration", "soon"),
            ("--format", "process", "--duration", "-1"),
            ("--format", "process", "--duration", "²"),
            ("--format", "process", "--path"),
            ("--format", "process", "--path", "--access"),
            ("--format", "process", "more"),
            ("--format", "PROCESS"),
            ("--form", "process"),
            ("--format", "process", "--access", "readwrite"),
            ("--help",),
            (),
        ],
        ids=" ".join,
    )
    def test_it_does_what_the_parser_would(
        self, signed_in: Terminal, canned: CannedService, arguments: tuple[str, ...]
    ) -> None:
        parser = "from app.client.commands import client; client(prog_name='tokenvend')"
        seen = []
        for command in (("tokenvend",), (sys.executable, "-c", parser)):
            canned.calls.clear()
            done = signed_in.run(*command, "creds", *arguments)
            seen.append((done.returncode, done.stdout, done.stderr, list(canned.calls)))
        assert seen[0] == seen[1]

    def test_a_closed_pipe_is_no_traceback(self, signed_in: Terminal) -> None:
        script = "(trap '' PIPE; tokenvend creds --format json; echo $? > status) | true"
        done = signed_in.run("sh", "-c", script)
        assert "Traceback" not in done.stderr


class TestRenewal:
    def test_has_the_new_refresh_token_on_disk_before_it_uses_the_session(
        self, signed_in: Terminal, canned: CannedService
    ) -> None:
        signed_in.age(left=credentials.MIN_LEFT - 1)
        on_disk = []
        canned.before_answer = lambda path: on_disk.append((path, signed_in.store.get().tokens.refresh_token))
        vend(signed_in)
        assert on_disk == [("auth/refresh", "refresh-1"), ("credentials", "refresh-2")]
        assert signed_in.store.get().tokens.access_token == "access-2"

    def test_waits_until_it_is_due(self, signed_in: Terminal, canned: CannedService) -> None:
        signed_in.age(left=credentials.MIN_LEFT + 30)
        vend(signed_in)
        assert canned.count("auth/refresh") == 0

    def test_of_many_at_once_is_one(self, signed_in: Terminal, canned: CannedService) -> None:
        signed_in.age()
        with ThreadPoolExecutor(20) as pool:
            renewed = list(pool.map(lambda _: signed_in.store.fresh(min_left=60), range(20)))
        assert {session.tokens.access_token for session in renewed} == {"access-2"}
        assert canned.count("auth/refresh") == 1

    def test_repeats_a_lost_answer_with_the_same_token(
        self, signed_in: Terminal, canned: CannedService, waits: list[float]
    ) -> None:
        signed_in.age()
        canned.lose("auth/refresh", times=2)
        assert vend(signed_in) == CREDENTIAL
        sent = [body["refresh_token"] for path, body in canned.calls if path == "auth/refresh"]
        assert sent == ["refresh-1"] * 3
        assert canned.generation == 2
        assert waits == list(PAUSES[:2])

    def test_survives_being_told_to_end_in_the_middle(self, signed_in: Terminal, canned: CannedService) -> None:
        """The service has rotated, the client has not heard of it yet: the answer is still put on disk."""
        signed_in.age()
        asked, told = threading.Event(), threading.Event()

        def hold(path: str) -> None:
            asked.set()
            told.wait(timeout=60)

        canned.before_answer = hold
        process = signed_in.start("tokenvend", "creds", "--format", "env")
        try:
            assert asked.wait(timeout=60)
            process.send_signal(signal.SIGTERM)
            told.set()
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert (process.returncode, output) == (-signal.SIGTERM, "")
        assert signed_in.store.get().tokens.refresh_token == "refresh-2"

    def test_happens_once_when_the_service_refuses_a_token_that_looked_fresh(
        self, signed_in: Terminal, canned: CannedService
    ) -> None:
        canned.fail("credentials", 401, body={"code": "invalid_token", "detail": "Expired."})
        assert vend(signed_in) == CREDENTIAL
        assert [path for path, _ in canned.calls] == ["credentials", "auth/refresh", "credentials"]
        canned.fail("credentials", 401, times=2)
        with pytest.raises(SignedOut):
            vend(signed_in)

    def test_of_an_ended_session_says_how_to_sign_in(self, signed_in: Terminal, canned: CannedService) -> None:
        signed_in.age()
        canned.fail("auth/refresh", 401, body={"code": "refresh_token_reused", "detail": "x"})
        said = one_sentence(signed_in.tokenvend("creds", "--format", "env"))
        assert said == f"Your session has ended: run `tokenvend login --url {canned.url} --email {EMAIL}`"

    def test_of_a_disabled_account_says_so(self, signed_in: Terminal, canned: CannedService) -> None:
        signed_in.age()
        canned.fail("auth/refresh", 403, body={"code": "account_disabled", "detail": "This account is disabled."})
        assert one_sentence(signed_in.tokenvend("creds", "--format", "env")) == "This account is disabled."


class TestPatience:
    @pytest.mark.parametrize("status", [429, 503])
    def test_waits_as_long_as_it_is_told(
        self, signed_in: Terminal, canned: CannedService, waits: list[float], status: int
    ) -> None:
        canned.fail("credentials", status, Retry_After="3")
        canned.fail("credentials", status, Retry_After="4")
        assert vend(signed_in) == CREDENTIAL
        assert waits == [3.0, 4.0]

    def test_ends_after_a_few_tries(self, signed_in: Terminal, canned: CannedService, waits: list[float]) -> None:
        canned.fail("credentials", 503, times=99)
        with pytest.raises(Unavailable, match=r"is busy \(HTTP 503\): try again in 2 seconds"):
            vend(signed_in)
        assert (waits, canned.count("credentials")) == (list(PAUSES), len(PAUSES) + 1)

    def test_ends_at_once_where_the_wait_is_long(
        self, signed_in: Terminal, canned: CannedService, waits: list[float]
    ) -> None:
        canned.fail("credentials", 429, Retry_After="3600")
        with pytest.raises(Unavailable, match="try again in 3600 seconds"):
            vend(signed_in)
        assert waits == []

    @pytest.mark.parametrize("value", ["", "soon", "-1", "Tue, 24 Nov 2026 04:00:00 GMT", "²"])
    def test_survives_any_retry_after(
        self, signed_in: Terminal, canned: CannedService, waits: list[float], value: str
    ) -> None:
        canned.fail("credentials", 503, Retry_After=value)
        assert vend(signed_in) == CREDENTIAL
        assert waits == [PAUSES[0]]

    def test_a_service_that_is_not_there_is_one_sentence(self, terminal: Terminal, silent_port: int) -> None:
        login = ("login", "--url", f"http://127.0.0.1:{silent_port}", "--email", EMAIL, "--password-stdin")
        said = one_sentence(terminal.tokenvend(*login, stdin="hunter2\n"))
        assert said.startswith(f"http://127.0.0.1:{silent_port} cannot be reached")


class TestStrangers:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b"<html>"),
            (200, b"[]"),
            (200, b"\xff"),
            (200, b"{}"),
            (200, CREDENTIAL | {"session_token": None}),
            (200, CREDENTIAL | {"region": "a\0b"}),
            (200, CREDENTIAL | {"endpoint_url": 1}),
            (302, b""),
            (404, b"<html>"),
            (500, {"detail": "no code"}),
        ],
    )
    def test_are_told_from_the_service(
        self, signed_in: Terminal, canned: CannedService, status: int, body: object
    ) -> None:
        canned.fail("credentials", status, body=body, Location="/v1/auth/login")
        with pytest.raises(ClientError, match="does not answer as tokenvend does"):
            vend(signed_in)
        assert canned.count("auth/login") == 0

    @pytest.mark.parametrize("change", [{"access_token": 1}, {"refresh_token": None}, {"expires_in": "x"}])
    def test_do_not_replace_the_session(
        self, signed_in: Terminal, canned: CannedService, change: dict[str, object]
    ) -> None:
        before = signed_in.age()
        canned.fail("auth/refresh", 200, body=canned._tokens() | change)
        with pytest.raises(ClientError, match="does not answer as tokenvend does"):
            vend(signed_in)
        assert signed_in.store.get() == before

    def test_a_proxy_carries_what_is_encrypted_and_nothing_else(
        self, canned: CannedService, waits: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        proxy = CannedService()
        try:
            handler = proxy._server.RequestHandlerClass
            handler.do_CONNECT = lambda self: (asked.append(self.path), self.send_error(403))
            for name in ("http_proxy", "https_proxy"):
                monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv("no_proxy", "")
            with pytest.raises(Unavailable):
                Service("https://tokens.example.org").refresh("r")
            with pytest.raises(Unavailable):
                Service("https://127.0.0.1:9").refresh("r")  # a proxy could not reach this machine's own loopback
            assert set(asked) == {"tokens.example.org:443"}
            Service(canned.url).log_in(EMAIL, "x", device_name="x")
        finally:
            proxy.close()
        assert proxy.calls == []


class TestTokenFile:
    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
    def test_is_kept_until_the_command_is_told_to_end(
        self, signed_in: Terminal, canned: CannedService, ending: signal.Signals
    ) -> None:
        signed_in.age(left=commands.MIN_LEFT_IN_FILE - 1)
        file = signed_in.home / "it's a token"
        command = ("tokenvend", "creds", "--format", "env", "--path", "a b/&é/", "--token-file", file.name)
        process = signed_in.start(*command)
        try:
            variables = printed(process)
            assert process.poll() is None
            assert (file.read_text(), file.stat().st_mode & 0o777) == ("access-2", 0o600)
            process.send_signal(ending)
            _, complaints = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert (process.returncode, complaints) == (0, "")
        script = (
            f'{variables}printf "%s\\n" "$AWS_CONTAINER_CREDENTIALS_FULL_URI" "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"'
        )
        uri = f"{canned.url}/v1/credentials/container?access=read_write&path=a+b%2F%26%C3%A9%2F"
        assert signed_in.run("sh", "-c", script).stdout.splitlines() == [uri, str(file)]

    def test_follows_the_session_and_waits_for_a_service_that_is_away(
        self, signed_in: Terminal, canned: CannedService, waits: list[float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = signed_in.home / "token"
        seen: list[str] = []

        def ended(seconds: float) -> bool:
            look = len(seen)
            seen.append(file.read_text() if file.exists() else "")
            if look == 0:
                signed_in.age(left=commands.MIN_LEFT_IN_FILE - seconds)
                canned.fail("auth/refresh", 503, times=2 * (len(PAUSES) + 1))
            return look == 5

        commands.keep_fresh(signed_in.store, file, signed_in.store.get(), ended=ended)
        assert seen == ["", "", "", "access-2", "access-2", "access-2"]
        assert capsys.readouterr().err.count("is busy") == 1

    @pytest.mark.parametrize(
        ("status", "body"),
        [(500, {"code": "internal_error", "detail": "The service failed."}), (200, b"<html>Please log in</html>")],
        ids=["a failure", "a captive portal"],
    )
    def test_outlives(
        self,
        signed_in: Terminal,
        canned: CannedService,
        capsys: pytest.CaptureFixture[str],
        status: int,
        body: Any,
    ) -> None:
        file = signed_in.home / "token"
        session = signed_in.age()
        canned.fail("auth/refresh", status, body=body, times=2)
        looks = iter([False, False, False, True])
        commands.keep_fresh(signed_in.store, file, session, ended=lambda _: next(looks))
        assert file.read_text() == "access-2"
        assert capsys.readouterr().err.count("\n") == 1

    def test_ends_with_the_account(self, signed_in: Terminal, canned: CannedService) -> None:
        session = signed_in.age()
        canned.fail("auth/refresh", 403, body={"code": "account_disabled", "detail": "Disabled."})
        with pytest.raises(Refused, match="Disabled"):
            commands.keep_fresh(signed_in.store, signed_in.home / "token", session, ended=lambda _: False)

    def test_ends_with_the_session(self, signed_in: Terminal, canned: CannedService) -> None:
        session = signed_in.age()
        canned.fail("auth/refresh", 401)
        with pytest.raises(SignedOut):
            commands.keep_fresh(signed_in.store, signed_in.home / "token", session, ended=lambda _: False)

    def test_never_has_the_token_of_another_service(self, signed_in: Terminal) -> None:
        """SDKs send what is in the file to the service that the shell names."""
        session, file, looks = signed_in.store.get(), signed_in.home / "token", iter([False, True])
        tokens = session.tokens._replace(access_token="another")
        signed_in.store.keep(Session("https://tokens.example.org", EMAIL, tokens))
        with pytest.raises(SignedOut, match="Another account"):
            commands.keep_fresh(signed_in.store, file, session, ended=lambda _: next(looks))
        assert not file.exists()

    @pytest.mark.parametrize("arguments", [("--format", "json"), ("--format", "env", "--duration", "900")])
    def test_goes_with_shells_alone(self, signed_in: Terminal, arguments: tuple[str, ...]) -> None:
        assert signed_in.tokenvend("creds", "--token-file", "token", *arguments).returncode == 2

    def test_that_cannot_be_written_is_one_sentence(self, signed_in: Terminal) -> None:
        said = one_sentence(signed_in.tokenvend("creds", "--format", "env", "--token-file", "nowhere/token"))
        assert said.startswith("No such file or directory: ")
        assert Path(said.rpartition(": ")[2]).parent == Path(os.path.realpath(signed_in.home)) / "nowhere"
