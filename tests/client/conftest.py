import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.client.service import Service, Tokens
from app.client.session import Session, Store
from tests.client.canned_service import CannedService
from tests.support.needs import need

EMAIL = "ada@example.org"
PASSWORD = "violet tractor moonlight"


@dataclass(frozen=True)
class Terminal:
    """A user's: a home of its own, `tokenvend` and `aws` on the path, nothing of this machine's AWS."""

    home: Path
    environment: dict[str, str] = field(repr=False)

    @property
    def directory(self) -> Path:
        return self.home / ".config" / "tokenvend"

    @property
    def session_file(self) -> Path:
        return self.directory / "session.json"

    @property
    def store(self) -> Store:
        return Store(self.directory)

    def run(self, *command: str | Path, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            env=self.environment | variables,
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tokenvend(self, *arguments: str, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        return self.run("tokenvend", *arguments, stdin=stdin, **variables)

    def log_in(self, url: str, email: str = EMAIL) -> None:
        done = self.tokenvend("login", "--url", url, "--email", email, "--password-stdin", stdin=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr

    def age(self, *, left: float = 0.0) -> Session:
        """Makes the kept access token one that expires in so many seconds, as far as the client knows."""
        session = self.store.get()
        tokens = session.tokens
        aged = Session(
            session.url, session.email, type(tokens)(tokens.access_token, tokens.refresh_token, time.time() + left)
        )
        self.store.keep(aged)
        return aged


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return terminal_at(tmp_path)


def terminal_at(directory: Path) -> Terminal:
    binaries, home = directory / "bin", directory / "home"
    binaries.mkdir()
    home.mkdir()
    command = binaries / "tokenvend"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m app "$@"\n')
    command.chmod(0o755)
    path = [str(binaries), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        "HOME": str(home),
        "PATH": os.pathsep.join(path),
        "LANG": "C.UTF-8",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    return Terminal(home, environment)


@pytest.fixture
def canned() -> Iterator[CannedService]:
    service = CannedService()
    yield service
    service.close()


@pytest.fixture
def signed_in(terminal: Terminal, canned: CannedService) -> Terminal:
    """At the canned service."""
    tokens = Service(canned.url).log_in(EMAIL, PASSWORD, device_name="test")
    assert isinstance(tokens, Tokens)
    terminal.store.keep(Session(canned.url, EMAIL, tokens))
    canned.calls.clear()
    return terminal


def found(program: str) -> str:
    """Where it is. Skips the test where it is nowhere."""
    need(program)
    path = shutil.which(program)
    assert path is not None
    return path


def printed(process: "subprocess.Popen[str]") -> str:
    """All of its standard output, which it has to close though it goes on; it is ended if it does not."""
    assert process.stdout is not None
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        return process.stdout.read()
    finally:
        timer.cancel()


def one_sentence(done: "subprocess.CompletedProcess[Any]") -> str:
    """What a failed command says; it says nothing else."""
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    sentence: str = done.stderr.rstrip("\n")
    return sentence
