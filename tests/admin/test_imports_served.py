"""Imports over real connections, which break, and through a real server, which stops."""

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import DevServer
from tests.support.service import PASSWORD

pytestmark = pytest.mark.all

ROWS = [json.dumps({"email": f"row{number:05}@example.org"}).encode() + b"\n" for number in range(6_000)]
HALF = b"".join(ROWS[:3_500]) + ROWS[3_500][:20]


class Server:
    def __init__(self, url: str) -> None:
        self.address = urlsplit(url)
        self.token = ""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(str(self.address.hostname), self.address.port, timeout=30)

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        connection = self.connect()
        try:
            headers = {"Content-Type": kind, "Authorization": f"Bearer {self.token}"}
            connection.request(method, f"/v1{path}", body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def begin_upload(self, import_id: str, data: bytes) -> http.client.HTTPConnection:
        """A chunked upload that stands still after `data`."""
        connection = self.connect()
        connection.putrequest("POST", f"/v1/admin/user-imports?import_id={import_id}")
        for name, value in (
            ("Content-Type", "application/x-ndjson"),
            ("Authorization", f"Bearer {self.token}"),
            ("Transfer-Encoding", "chunked"),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        for at in range(0, len(data), 7_000):
            piece = data[at : at + 7_000]
            connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        return connection

    def wait_for(self, import_id: str, what: str, value: Any) -> dict[str, Any]:
        for _ in range(200):
            status, text = self.ask("GET", f"/admin/user-imports/{import_id}")
            found: dict[str, Any] = json.loads(text)
            if status == 200 and found[what] == value:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{what} is not {value}: {text!r}")


def sign_in(server: Server, data_dir: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "TOKENVEND_DATABASE_URL": f"sqlite:///{data_dir / 'tokenvend.db'}",
        "TOKENVEND_SECRET_KEY": (data_dir / "secret_key").read_text(),
    }
    email = f"{uuid.uuid4()}@example.org"
    subprocess.run(
        [sys.executable, "-m", "app", "admin", "create", "--email", email, "--password-stdin"],
        env=environment,
        input=f"{PASSWORD}\n".encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    _, text = server.ask("POST", "/auth/login", json.dumps({"email": email, "password": PASSWORD}).encode())
    server.token = json.loads(text)["tokens"]["access_token"]


@pytest.fixture
def server(dev_server: DevServer) -> Server:
    server = Server(dev_server.url)
    sign_in(server, dev_server.data_dir)
    return server


def test_a_broken_upload_goes_on_and_each_row_is_there_once(server: Server) -> None:
    """IM5"""
    import_id = str(uuid.uuid4())
    connection = server.begin_upload(import_id, HALF)
    found = server.wait_for(import_id, "rows", 3_000)
    assert (found["status"], found["created"]) == ("running", 3_000)
    connection.close()
    assert server.wait_for(import_id, "status", "interrupted")["rows"] == 3_000
    status, text = server.ask(
        "POST", f"/admin/user-imports?import_id={import_id}", b"".join(ROWS), "application/x-ndjson"
    )
    done = json.loads(text)
    assert (status, done["status"], done["rows"], done["created"]) == (201, "completed", 6_000, 6_000)
    _, text = server.ask("GET", "/admin/user-exports?format=ndjson")
    emails = Counter(json.loads(line)["email"] for line in text.splitlines())
    assert sum(email.startswith("row") for email in emails) == 6_000
    assert set(emails.values()) == {1}


@pytest.mark.long
def test_a_server_that_is_stopped_ends_and_the_import_is_taken_up(tmp_path: Path) -> None:
    """Twice as many as are imported at once wait, and none of them holds the process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "dev", "--port", "0", "--data-dir", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    assert process.stdout is not None
    connections = []
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), (tmp_path / "log").read_text()[-4000:]
        server = Server(line.split()[1])
        sign_in(server, tmp_path)
        import_ids = [str(uuid.uuid4()) for _ in range(4)]
        connections = [server.begin_upload(import_id, HALF) for import_id in import_ids]
        server.wait_for(import_ids[0], "rows", 3_000)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()
        for connection in connections:
            connection.close()
    assert "Traceback" not in (tmp_path / "log").read_text()
