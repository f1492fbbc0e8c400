"""The endpoint of the guide on moving users, as it stands there, in a process of its own before an old system."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx2 import Client, TransportError

from tests.support.documents import ROOT, blocks
from tests.support.ports import free_port

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = """
import json
from pathlib import Path

USERS, ASKED = Path(__file__).with_name("users.json"), Path(__file__).with_name("asked")


def find_user(email, password):
    with ASKED.open("a") as asked:
        asked.write(email + "\\n")
    user = json.loads(USERS.read_text()).get(email)
    return user["answer"] if user and user["password"] == password else None
"""
SERVE = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from endpoint import application


class Server(ThreadingMixIn, WSGIServer):
    request_queue_size = 64
    daemon_threads = True


make_server("127.0.0.1", int(sys.argv[1]), application, Server).serve_forever()
"""


@dataclass
class OldUsers:
    """An old system that a test fills with users."""

    url: str
    folder: Path

    @property
    def settings(self) -> dict[str, Any]:
        return {"migration_url": self.url, "migration_secret": (SECRET,)}

    def add(self, email: str, password: str, /, **answer: Any) -> None:
        """`answer`: what it says of the user other than that the address is verified."""
        file = self.folder / "users.json"
        said = {"email": email, "email_verified": True} | answer
        file.write_text(json.dumps(json.loads(file.read_text()) | {email: {"password": password, "answer": said}}))

    @property
    def asked(self) -> list[str]:
        """About whom it was asked."""
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []


def guides_block(text: str) -> str:
    """The one block of the guide that holds the text."""
    (code,) = [block.code for block in blocks(ROOT / "deploy" / "imports" / "README.md") if text in block.code]
    return code


@contextmanager
def guides_endpoint(
    folder: Path, old: str = OLD, *, environment: Mapping[str, str] | None = None
) -> Iterator[OldUsers]:
    """`old`: the text of the module that finds a user."""
    (folder / "endpoint.py").write_text(guides_block("def application"))
    (folder / "old.py").write_text(old)
    (folder / "users.json").write_text("{}")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(port)],
            cwd=folder,
            env=os.environ | {"TOKENVEND_MIGRATION_SECRET": SECRET} | (environment or {}),
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(url, process, folder / "log")
            yield OldUsers(url, folder)
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    with Client() as client:
        for _ in range(300):
            assert process.poll() is None, log.read_text()
            try:
                client.post(url)
            except TransportError:
                time.sleep(0.05)
            else:
                return
    raise AssertionError(log.read_text())
