"""Starts that do not succeed, and starts on what an earlier one left."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app import engine
from app.engine import EngineError, directory, readiness
from tests.engine.conftest import ORIGIN
from tests.support.engine import RunningEngine, preflight

pytestmark = [pytest.mark.all, pytest.mark.sampled(3)]

ON_WINDOWS = """
import signal, sys
import boto3
sys.platform = "win32"
sys.modules["fcntl"] = None
del signal.SIGKILL, signal.SIGCHLD
from pathlib import Path
from app import engine
try:
    engine.start(Path(sys.argv[1]))
except engine.EngineError as error:
    print(error)
"""
PICTURES = {f"users/somebody/{size}.jpg": os.urandom(size) for size in (0, 1, 300_000, 9_000_000)}


@pytest.fixture
def fake_weed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Another program where SeaweedFS is looked for: the text of an executable file."""

    def install(text: str) -> None:
        weed = tmp_path / "bin" / "weed"
        weed.parent.mkdir()
        weed.write_text(text)
        weed.chmod(0o700)
        (weed.parent / "python").symlink_to(sys.executable)
        monkeypatch.setattr(sys, "executable", str(weed.parent / "python"))

    return install


def refusal(data_dir: Path) -> str:
    with pytest.raises(EngineError) as refused:
        engine.start(data_dir)
    return str(refused.value)


class TestRefusal:
    def test_of_a_platform_without_an_engine(self, tmp_path: Path) -> None:
        command = [sys.executable, "-W", "error", "-c", ON_WINDOWS, str(tmp_path / "data")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert answer.stderr == ""
        assert answer.stdout.startswith("The embedded engine runs on Linux and macOS only")
        assert "TOKENVEND_STS_ENDPOINT_URL" in answer.stdout
        assert "TOKENVEND_S3_ENDPOINT_URL" in answer.stdout
        assert not (tmp_path / "data").exists()

    def test_without_seaweedfs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
        message = refusal(tmp_path / "data")
        assert "not installed: `make install` in a clone of the repository brings it" in message
        assert "TOKENVEND_STS_ENDPOINT_URL" in message
        assert not (tmp_path / "data").exists()

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        message = refusal(tmp_path / "file" / "data")
        assert str(tmp_path / "file" / "data") in message
        assert message.endswith("choose another data directory.")

    def test_of_a_spoilt_state(self, tmp_path: Path) -> None:
        for spoilt in ("", "{}", "[]", '{"first_port": 80, "keys": {}}'):
            (tmp_path / "engine.json").write_text(spoilt)
            assert f"{tmp_path / 'engine.json'} is spoilt: delete it." in refusal(tmp_path)

    @pytest.mark.xdist_group("engine")
    def test_of_a_directory_in_use(self, running: RunningEngine) -> None:
        message = refusal(running.data_dir)
        assert f"{running.data_dir} is in use by process {os.getpid()}: stop that" in message
        assert message.endswith("another data directory with `tokenvend dev --data-dir`.")
        assert running.weed.is_running()

    def test_of_a_program_that_cannot_be_run(self, tmp_path: Path, fake_weed: Callable[[str], None]) -> None:
        fake_weed("\0")
        message = refusal(tmp_path / "data")
        assert f"{tmp_path / 'bin' / 'weed'} cannot be run" in message
        assert "Exec format error" in message

    def test_ends_with_what_seaweedfs_says(self, tmp_path: Path, fake_weed: Callable[[str], None]) -> None:
        fake_weed("#!/bin/sh\necho no space left >&2\nexit 1\n")
        message = refusal(tmp_path / "data")
        assert message.startswith("SeaweedFS ended while it was starting")
        assert message.endswith("no space left")

    def test_when_it_does_not_get_ready_leaves_no_process(
        self, tmp_path: Path, fake_weed: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_weed('#!/bin/sh\ntrap "" TERM\necho "pid=$$" >&2\nwhile :; do sleep 0.1; done\n')
        monkeypatch.setattr(readiness, "START_TIMEOUT", 0.5)
        message = refusal(tmp_path / "data")
        assert message.startswith("SeaweedFS was not ready")
        found = re.search(r"pid=(\d+)", message)
        assert found is not None
        assert not psutil.pid_exists(int(found[1]))


class TestNextStart:
    @pytest.mark.parametrize("end", ["stopped", "killed"])
    def test_has_the_data_and_the_keys(self, tmp_path: Path, end: str) -> None:
        with engine.start(tmp_path, allowed_origins=[ORIGIN]) as first:
            before = RunningEngine(first, tmp_path)
            credentials = before.assume()
            with before.as_holder(credentials, "s3") as s3:
                for key, body in PICTURES.items():
                    s3.put_object(Bucket="photos", Key=key, Body=body)
            if end == "killed":
                os.kill(first.pid, signal.SIGKILL)
        with engine.start(tmp_path) as second:
            after = RunningEngine(second, tmp_path)
            assert second.endpoint_url == first.endpoint_url
            assert second.secret_access_key == first.secret_access_key
            assert second.owner_secret_access_key == first.owner_secret_access_key
            with after.as_holder(credentials, "s3") as s3:
                read = {key: s3.get_object(Bucket="photos", Key=key)["Body"].read() for key in PICTURES}
                s3.put_object(Bucket="photos", Key="users/somebody/new.jpg", Body=b"new")
            assert read == PICTURES
            assert "Access-Control-Allow-Origin" not in preflight(after, ORIGIN, "photos/users/somebody/new.jpg")

    def test_says_which_port_is_taken_and_how_to_go_on(self, tmp_path: Path) -> None:
        with engine.start(tmp_path) as first, RunningEngine(first, tmp_path).as_owner("s3") as s3:
            s3.put_object(Bucket="photos", Key="users/somebody/a.jpg", Body=b"kept")
        port = int(first.endpoint_url.rpartition(":")[2]) + 3
        with socket.create_server(("127.0.0.1", port)):
            message = refusal(tmp_path)
        assert message.startswith(f"Port {port} on 127.0.0.1, which the engine uses, is in use by another process")
        assert f"delete {tmp_path / directory.STATE_FILE}" in message
        (tmp_path / directory.STATE_FILE).unlink()
        with engine.start(tmp_path) as second, RunningEngine(second, tmp_path).as_owner("s3") as s3:
            assert second.secret_access_key != first.secret_access_key
            assert s3.get_object(Bucket="photos", Key="users/somebody/a.jpg")["Body"].read() == b"kept"
