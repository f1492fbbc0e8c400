"""What an operator asks of STS by the command line, and how the code of an MFA device gets there: in processes."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import urllib3

from app.cli.commands import main
from tests.support.canned_sts import CannedSts
from tests.support.clock import ManualClock
from tests.support.ports import free_port
from tests.support.service import ROLE_ARN, SECRET_KEY, running_service
from tests.vending.crowd import sign_in

pytestmark = pytest.mark.all

DEVICE = "arn:aws:iam::123456789012:mfa/operator"
CODE = "739154"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "base-secret-key"}
MFA = {"TOKENVEND_MFA_SERIAL": DEVICE}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def environment(sts: CannedSts, database_url: str) -> dict[str, str]:
    return {
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": sts.url,
        "TOKENVEND_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "TOKENVEND_LOG_LEVEL": "debug",
        "AWS_EC2_METADATA_DISABLED": "true",
        **KEYS,
    }


def in_a_process(*arguments: str, environment: Mapping[str, str], cwd: Path) -> Done:
    """The command without a terminal: its input stays open and silent."""
    silent, writer = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            env=environment,
            cwd=cwd,
            stdin=silent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )
    finally:
        os.close(silent)
        os.close(writer)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def tokenvend(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command in this process, for what needs none of its own: to start one takes most of a command's time."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **changes: str | None) -> Done:
        for name, value in {**environment, **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["tokenvend", *arguments])
        capsys.readouterr()
        with Path(os.devnull).open() as silent, monkeypatch.context() as terminal:
            terminal.setattr(sys, "stdin", silent)
            with pytest.raises(SystemExit) as ended:
                main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


def spilt(cwd: Path, *texts: str) -> list[str]:
    """The secrets that stand in what was printed, or in a file."""
    files = b"".join(file.read_bytes() for file in cwd.rglob("*") if file.is_file())
    secrets = (CODE, KEYS["AWS_SECRET_ACCESS_KEY"], "canned-secret-key", "canned-session-token")
    return [secret for secret in secrets if secret in "".join(texts) or secret.encode() in files]


class TestSts:
    def test_whoami_says_who_we_are(self, sts: CannedSts, environment: dict[str, str], tmp_path: Path) -> None:
        done = in_a_process("sts", "whoami", environment=environment, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{sts.caller_arn}\n"), done.stderr
        assert spilt(tmp_path, done.stdout, done.stderr) == []

    def test_whoami_without_keys_is_one_sentence(self, tokenvend: Callable[..., Done]) -> None:
        done = tokenvend("sts", "whoami", AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"The engine refused .+ has to mend this\. \(NoCredentials\)\n", done.stderr)

    @pytest.mark.parametrize("client", ["signed", "boto3"])
    def test_access_key_says_whose_it_is(
        self, sts: CannedSts, tokenvend: Callable[..., Done], database_url: str, client: str
    ) -> None:
        with running_service(database_url) as service:
            (device,) = sign_in(service, 1)
            key = device.vend().json()["access_key_id"]
        vended = tokenvend("sts", "access-key", key, TOKENVEND_STS_CLIENT=client)
        strange = tokenvend("sts", "access-key", "ASIASTRANGE000000001", TOKENVEND_STS_CLIENT=client)
        assert (vended.returncode, strange.returncode) == (0, 0), vended.stderr + strange.stderr
        lines = dict(line.split(": ", 1) for line in vended.stdout.splitlines())
        assert (lines["user"], lines["session"]) == (device.user_id, device.session_id)
        assert lines["reaches"] == f"users/{device.user_id}/ (read_write)"
        assert lines["expires"] == "2026-06-01T13:00:00Z (expired)"
        assert lines["account"] == "123456789012"
        assert strange.stdout == "user: none, this service did not vend it\naccount: 123456789012\n"
        assert [form["AccessKeyId"] for form in sts.forms] == [key, "ASIASTRANGE000000001"]

    def test_access_key_says_whether_it_was_revoked(
        self, sts: CannedSts, tokenvend: Callable[..., Done], database_url: str
    ) -> None:
        with running_service(database_url, clock=ManualClock(datetime.now(UTC))) as service:
            (device,) = sign_in(service, 1)
            keys = [device.vend(path=path).json()["access_key_id"] for path in ("a/", "b/")]
            service.sql("UPDATE issued_credentials SET revoked_at = issued_at WHERE access_key_id = :key", key=keys[0])
        said = [tokenvend("sts", "access-key", key).stdout for key in keys]
        assert ["(revoked)" in said[0], "(alive)" in said[1]] == [True, True], said

    def test_decode_says_why(self, sts: CannedSts, tokenvend: Callable[..., Done]) -> None:
        done = tokenvend("sts", "decode", "qk0Zx/+=")
        assert (done.returncode, done.stdout) == (0, '{"allowed":false}\n'), done.stderr
        assert [form["EncodedMessage"] for form in sts.forms] == ["qk0Zx/+="]


class TestMfa:
    def test_code_is_exchanged_once_and_kept_nowhere(
        self, sts: CannedSts, environment: dict[str, str], tmp_path: Path
    ) -> None:
        typed = f"{CODE[:3]} {chr(ord('٠') + int(CODE[3]))}{CODE[4:]}"
        done = in_a_process("doctor", "--mfa-code", typed, environment=environment | MFA, cwd=tmp_path)
        assert "ok      trust policy" in done.stdout, done.stdout + done.stderr
        assert sts.forms[0] == {
            "Action": "GetSessionToken",
            "Version": "2011-06-15",
            "SerialNumber": DEVICE,
            "TokenCode": CODE,
            "DurationSeconds": "129600",
        }
        actions = [form["Action"] for form in sts.forms[1:]]
        assert actions == ["GetCallerIdentity", *["AssumeRole"] * (len(actions) - 1)]
        assert CODE not in str(sts.forms[1:])
        assert {request.headers["x-amz-security-token"] for request in sts.requests[1:]} == {"canned-session-token-1"}
        assert spilt(tmp_path, done.stdout, done.stderr) == []
        assert "long-lived keys" not in done.stdout

    @pytest.mark.parametrize("command", ["serve", "doctor"])
    def test_code_that_is_refused_is_one_sentence(
        self, sts: CannedSts, tokenvend: Callable[..., Done], command: str
    ) -> None:
        sts.fail("AccessDenied", 403)
        done = tokenvend(command, "--mfa-code", CODE, **MFA)
        said = "STS did not take the MFA code (AccessDenied): wait for the next one, and try again\n"
        assert done == Done(1, "", said)
        assert len(sts.forms) == 1

    def test_device_without_a_code_is_one_sentence(self, sts: CannedSts, tokenvend: Callable[..., Done]) -> None:
        said = "TOKENVEND_MFA_SERIAL is set: give the code of the device by --mfa-code\n"
        assert tokenvend("serve", **MFA) == Done(1, "", said)
        assert sts.forms == []

    def test_code_without_a_device_is_one_sentence(self, sts: CannedSts, tokenvend: Callable[..., Done]) -> None:
        said = "TOKENVEND_MFA_SERIAL: must name the device whose code --mfa-code is\n"
        assert tokenvend("serve", "--mfa-code", CODE) == Done(1, "", said)
        assert sts.forms == []

    def test_one_code_is_enough_for_several_workers(
        self, sts: CannedSts, environment: dict[str, str], tmp_path: Path
    ) -> None:
        port = free_port()
        log = tmp_path / "log"
        with log.open("w") as stream:
            process = psutil.Popen(
                [sys.executable, "-m", "app", "serve", "--workers", "2", "--port", str(port), "--mfa-code", CODE],
                env=environment | MFA,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        try:
            answer = ready(f"http://127.0.0.1:{port}/readyz", process, log)
            environments = []
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.ZombieProcess):  # what told of the readiness has ended
                    environments.append(str(one.environ()))
            assert len(environments) >= 3
            assert not [text for text in environments if CODE in text]
        finally:
            process.terminate()
            process.wait(timeout=60)
        assert answer == 200, log.read_text()
        actions = [form["Action"] for form in sts.forms]
        assert actions[0] == "GetSessionToken"
        assert set(actions[1:]) == {"GetCallerIdentity"}
        assert {request.headers["x-amz-security-token"] for request in sts.requests[1:]} == {"canned-session-token-1"}
        assert spilt(tmp_path) == []


def ready(url: str, process: psutil.Popen, log: Path) -> int:
    """The status of its first answer."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return urllib3.request("GET", url, retries=False, timeout=10).status
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())
