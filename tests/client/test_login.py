"""`tokenvend login` and `logout`: what is kept, where, and for whose eyes."""

import json
import os
import shlex
import stat
import subprocess
import uuid
from pathlib import Path

import pytest
from httpx2 import Client

from app.client.service import ClientError, Service
from app.client.session import Store, write_private
from app.platform.clock import SystemClock
from tests.client.canned_service import CannedService
from tests.client.conftest import EMAIL, PASSWORD, Terminal, one_sentence
from tests.conftest import DevServer
from tests.support.authenticator import Authenticator

KEPT_TOKENS = {"access_token": "a", "refresh_token": "r", "expires_at": 1.0}
KEPT = {"url": "http://127.0.0.1", "email": EMAIL, "tokens": KEPT_TOKENS}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestLogin:
    def test_keeps_the_session_for_its_owner_alone(self, terminal: Terminal, canned: CannedService) -> None:
        terminal.log_in(canned.url + "/")
        assert (mode(terminal.directory), mode(terminal.session_file)) == (0o700, 0o600)
        session = terminal.store.get()
        assert (session.url, session.email) == (canned.url, EMAIL)
        assert (session.tokens.access_token, session.tokens.refresh_token) == ("access-1", "refresh-1")
        [(path, body)] = canned.calls
        assert (path, body["email"], body["password"]) == ("auth/login", EMAIL, PASSWORD)
        assert body["device_name"].startswith("tokenvend on ")
        assert PASSWORD not in terminal.session_file.read_text()

    def test_follows_xdg_config_home_unless_it_is_relative(self, terminal: Terminal, canned: CannedService) -> None:
        elsewhere = terminal.home / "elsewhere"
        login = ("login", "--url", canned.url, "--email", EMAIL, "--password-stdin")
        assert terminal.tokenvend(*login, stdin="x\n", XDG_CONFIG_HOME=str(elsewhere)).returncode == 0
        assert (elsewhere / "tokenvend" / "session.json").exists()
        assert not terminal.session_file.exists()
        assert terminal.tokenvend(*login, stdin="x\n", XDG_CONFIG_HOME="elsewhere").returncode == 0
        assert terminal.session_file.exists()

    def test_closes_a_directory_that_was_open(self, terminal: Terminal, canned: CannedService) -> None:
        terminal.directory.mkdir(parents=True)
        terminal.directory.chmod(0o755)
        terminal.log_in(canned.url)
        assert mode(terminal.directory) == 0o700

    def test_a_wrong_password_is_one_sentence(self, terminal: Terminal, canned: CannedService) -> None:
        detail = "No account has this e-mail address with this password."
        canned.fail("auth/login", 401, body={"code": "invalid_login", "detail": detail})
        login = ("login", "--url", canned.url, "--email", EMAIL, "--password-stdin")
        assert one_sentence(terminal.tokenvend(*login, stdin="hunter2\n")) == detail
        assert not terminal.session_file.exists()

    def test_what_is_no_text_is_one_sentence(self, terminal: Terminal, canned: CannedService) -> None:
        login = ("tokenvend", "login", "--url", canned.url, "--email")
        for script in (
            f"printf 'hunter2\\377' | {shlex.join(login)} {EMAIL} --password-stdin",
            f"echo hunter2 | {shlex.join(login)} \"$(printf 'a\\377@example.org')\" --password-stdin",
        ):
            said = one_sentence(terminal.run("sh", "-c", script))
            assert said == "The password or an option is not text in UTF-8"
        assert canned.calls == []

    def test_a_refusal_cannot_command_the_terminal(self, terminal: Terminal, canned: CannedService) -> None:
        errors = [{"location": "email", "code": "x", "message": "no\x1b]0;\n\x07 mail"}]
        canned.fail("auth/login", 422, body={"code": "invalid_request", "detail": "See errors.", "errors": errors})
        login = ("login", "--url", canned.url, "--email", "ada", "--password-stdin")
        assert one_sentence(terminal.tokenvend(*login, stdin="x\n")) == "no]0; mail"

    def test_asks_for_the_password_without_showing_it(self, terminal: Terminal, canned: CannedService) -> None:
        """On a terminal: a pseudo-terminal echoes whatever is not hidden."""
        status, shown = converse(terminal, canned, {b"Password: ": PASSWORD})
        assert status == 0, shown
        assert PASSWORD.encode() not in shown
        assert canned.calls[0][1]["password"] == PASSWORD


@pytest.mark.all
class TestSecondFactor:
    def log_in(self, terminal: Terminal, canned: CannedService, *more: str) -> "subprocess.CompletedProcess[str]":
        login = ("login", "--url", canned.url, "--email", EMAIL, "--password-stdin")
        return terminal.tokenvend(*login, *more, stdin=f"{PASSWORD}\n")

    @pytest.mark.parametrize("code", ["123456", "123 456", "123-456", "\u200f١٢٣\u00a0٤٥٦"])
    def test_is_the_code_of_an_app(self, terminal: Terminal, canned: CannedService, code: str) -> None:
        canned.codes = {"totp": code, "recovery_code": "x"}
        done = self.log_in(terminal, canned, "--mfa-code", code)
        assert (done.returncode, done.stderr) == (0, "")
        assert canned.calls[1] == ("auth/mfa", {"mfa_token": "mfa-1", "method": "totp", "code": code})
        assert terminal.store.get().tokens.access_token == "access-1"
        assert code not in terminal.session_file.read_text() + done.stdout

    def test_is_a_recovery_code(self, terminal: Terminal, canned: CannedService) -> None:
        code = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX"
        canned.codes = {"totp": "123456", "recovery_code": code}
        assert self.log_in(terminal, canned, "--mfa-code", code).returncode == 0
        assert canned.calls[1][1]["method"] == "recovery_code"

    def test_is_not_sent_where_it_is_not_asked_for(self, terminal: Terminal, canned: CannedService) -> None:
        assert self.log_in(terminal, canned, "--mfa-code", "123456").returncode == 0
        assert [path for path, _ in canned.calls] == ["auth/login"]
        assert "123456" not in str(canned.calls)

    def test_that_is_left_out_is_one_sentence(self, terminal: Terminal, canned: CannedService) -> None:
        """Where nobody can be asked: standard input is no terminal."""
        canned.codes = {"totp": "123456"}
        assert "--mfa-code" in one_sentence(self.log_in(terminal, canned))
        assert not terminal.session_file.exists()
        assert canned.count("auth/mfa") == 0

    def test_is_asked_for_on_a_terminal(self, terminal: Terminal, canned: CannedService) -> None:
        canned.codes = {"totp": "123456"}
        status, shown = converse(terminal, canned, {b"Password: ": PASSWORD, b"recovery code: ": "123456"})
        assert status == 0, shown
        assert canned.calls[1][1]["code"] == "123456"

    def test_that_is_wrong_is_one_sentence(self, terminal: Terminal, canned: CannedService) -> None:
        canned.codes = {"totp": "123456"}
        assert one_sentence(self.log_in(terminal, canned, "--mfa-code", "654321")) == "The code is wrong."
        assert not terminal.session_file.exists()

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_is_never_sent_twice(self, terminal: Terminal, canned: CannedService, status: int) -> None:
        """It may have been used: a second try would be a wrong code at best."""
        canned.codes = {"totp": "123456"}
        canned.fail("auth/mfa", status)
        one_sentence(self.log_in(terminal, canned, "--mfa-code", "123456"))
        assert canned.count("auth/mfa") == 1

    def test_whose_answer_is_lost_is_not_sent_again(self, terminal: Terminal, canned: CannedService) -> None:
        canned.codes = {"totp": "123456"}
        canned.lose("auth/mfa")
        assert "cannot be reached" in one_sentence(self.log_in(terminal, canned, "--mfa-code", "123456"))
        assert canned.count("auth/mfa") == 1

    @pytest.mark.parametrize("challenge", [None, {}, {"mfa_token": 1}, []])
    def test_of_who_is_no_tokenvend_is_one_sentence(self, canned: CannedService, challenge: object) -> None:
        canned.fail("auth/login", 200, body={"status": "mfa_required", "tokens": None, "mfa": challenge})
        with pytest.raises(ClientError, match="does not answer as tokenvend does"):
            Service(canned.url).log_in(EMAIL, PASSWORD, device_name="x")

    @pytest.mark.xdist_group("client")
    def test_works_with_the_service_itself(self, terminal: Terminal, dev_server: DevServer) -> None:
        """By the app's code and by a recovery code; neither works twice."""
        email, clock = f"user{uuid.uuid4()}@example.org", SystemClock()
        with Client(base_url=f"{dev_server.url}/v1", timeout=30) as http:
            account = {"email": email, "password": PASSWORD}
            assert http.post("/users", json=account).status_code == 201
            tokens = http.post("/auth/login", json=account).json()["tokens"]
            http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            app = Authenticator(clock, http.post("/me/totp").json()["secret"], [])
            confirmed = http.post("/me/totp/confirm", json={"code": app.code()})
            recovery_code = confirmed.json()["recovery_codes"][0]
        login = ("login", "--url", dev_server.url, "--email", email, "--password-stdin", "--mfa-code")
        for code in (app.code(steps=1), recovery_code.lower()):
            done = terminal.tokenvend(*login, code, stdin=f"{PASSWORD}\n")
            assert done.returncode == 0, done.stderr
            assert terminal.tokenvend("creds", "--format", "json").returncode == 0
            again = terminal.tokenvend(*login, code, stdin=f"{PASSWORD}\n")
            assert one_sentence(again) == "The code is wrong, too old, or was used before."


def converse(terminal: Terminal, canned: CannedService, answers: dict[bytes, str]) -> tuple[int, bytes]:
    """Status, and all that was shown, of a `tokenvend login` on a pseudo-terminal that gives the answers in turn."""
    leader, follower = os.openpty()
    process = subprocess.Popen(
        ["tokenvend", "login", "--url", canned.url, "--email", EMAIL],
        env=terminal.environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    try:
        for question, told in answers.items():
            while question not in shown:
                shown += os.read(leader, 1024)
            os.write(leader, f"{told}\n".encode())
        while piece := os.read(leader, 1024):
            shown += piece
    except OSError:  # the other end of the terminal is closed
        pass
    finally:
        os.close(leader)
        status = process.wait(timeout=60)
    return status, shown


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "https://tokens.example.org",
            "https://tokens.example.org:8443/base/",
            "http://127.0.0.1:8000",
            "http://127.9.9.9",
            "http://[::1]:8000",
            "http://localhost:8000",
            "HTTP://LOCALHOST",
        ],
    )
    def test_may_be_encrypted_or_of_this_machine(self, url: str) -> None:
        assert Service(url).url == url.rstrip("/").replace("HTTP://LOCALHOST", "http://localhost")

    @pytest.mark.parametrize(
        "url",
        [
            "http://tokens.example.org",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://127.0.0.1\\@example.org",
            "http://127.0.0.1@example.org",
            "https://user:secret@example.org",
            "https://example.org/?a",
            "https://example.org/#a",
            "https://",
            "https://exa mple.org",
            "https://[::1",
            "ftp://127.0.0.1",
            "tokens.example.org",
            "127.0.0.1:8000",
            "",
        ],
    )
    def test_may_not_carry_secrets_in_the_clear(self, url: str) -> None:
        with pytest.raises(ClientError, match="The URL must"):
            Service(url)

    def test_are_refused_before_the_password_is_read(self, terminal: Terminal) -> None:
        done = terminal.tokenvend("login", "--url", "http://example.org", "--email", EMAIL)
        assert "https://" in one_sentence(done)


class TestFiles:
    def test_are_never_open_to_others_nor_half_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "session.json"
        file.write_text("old")
        seen = []

        def look(descriptor: int) -> None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                [new] = set(tmp_path.iterdir()) - {file}
                seen.append((mode(new), new.read_text(), file.read_text()))

        monkeypatch.setattr("app.client.session.os.fsync", look)
        before = os.umask(0)
        try:
            write_private(file, "new")
        finally:
            os.umask(before)
        assert seen == [(0o600, "new", "old")]
        assert (file.read_text(), mode(file)) == ("new", 0o600)

    def test_stay_as_they_were_when_the_disk_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "session.json"
        file.write_text("old")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("app.client.session.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_private(file, "new")
        assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]

    @pytest.mark.parametrize(
        "content",
        [
            *("", "{", "[]", "{}", '{"url": "u", "email": "e", "tokens": {"x": 1}}'),
            *(json.dumps(KEPT | change) for change in ({"url": 1}, {"email": None}, {"tokens": None})),
            *(
                json.dumps(KEPT | {"tokens": KEPT_TOKENS | change})
                for change in (
                    {"expires_at": None},
                    {"expires_at": "soon"},
                    {"access_token": 5},
                    {"refresh_token": None},
                )
            ),
        ],
    )
    def test_that_are_damaged_say_so(self, terminal: Terminal, content: str) -> None:
        terminal.directory.mkdir(parents=True)
        terminal.session_file.write_text(content)
        with pytest.raises(ClientError, match=r"is damaged: run `tokenvend login"):
            Store(terminal.directory).get()


class TestLogout:
    def test_ends_the_session_and_removes_the_file(self, signed_in: Terminal, canned: CannedService) -> None:
        done = signed_in.tokenvend("logout")
        assert (done.returncode, done.stdout) == (0, "Signed out.\n")
        assert canned.calls == [("auth/logout", {"refresh_token": "refresh-1"})]
        assert not signed_in.session_file.exists()
        assert signed_in.tokenvend("logout").stdout == "Nobody was signed in.\n"

    def test_keeps_the_file_of_a_session_that_could_not_be_ended(
        self, signed_in: Terminal, canned: CannedService
    ) -> None:
        canned.fail("auth/logout", 500, body={"code": "internal_error", "detail": "The service failed."})
        assert one_sentence(signed_in.tokenvend("logout")) == "The service failed."
        assert signed_in.session_file.exists()
