"""Two kinds of clients: a library in a process that takes an act a line, and a program that is started for each act."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PATIENCE = 90.0
"""Seconds for one act."""
MARK = "= "
"""Begins a line that is an answer: libraries print lines of their own."""
Environment = Mapping[str, str]


class Failed(Exception):
    """What the person sees."""


class Driver(Protocol):
    """The acts are `up(file, key)`, `names(prefix)`, `down(key, file)`, `move(key, to)` and `remove(key)`."""

    version: str

    def act(self, name: str, *arguments: str) -> Any:
        """What the act gives. Raises `Failed`."""

    def close(self) -> None: ...


class Lines:
    """A process that says its version in its first line. It gets each act as a JSON array, and answers in one line."""

    def __init__(self, command: Sequence[str | Path], environment: Environment, directory: Path) -> None:
        self._errors = (directory / "stderr.log").open("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        self.version = str(self._answer()["version"])

    def act(self, name: str, *arguments: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "says" in answer:
            raise Failed(answer["says"])
        return answer.get("done")

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        try:
            for line in self._process.stdout:
                if line.startswith(MARK):
                    answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
                    return answer
        finally:
            timer.cancel()
        self._errors.seek(0)
        raise Failed(self._errors.read().strip() or f"no answer within {PATIENCE:.0f} seconds")


@dataclass(frozen=True)
class Program:
    """A command line for each act. `{file}`, `{key}`, `{prefix}`, `{to}` and names of variables stand for values."""

    version: Sequence[str]
    up: Sequence[str]
    names: Sequence[str]
    down: Sequence[str]
    remove: Sequence[str]
    move: Sequence[str] = ()


ARGUMENTS = {
    "up": ("file", "key"),
    "names": ("prefix",),
    "down": ("key", "file"),
    "move": ("key", "to"),
    "remove": ("key",),
}


class Commands:
    """A program in a directory that comes first on the path, with settings of its own."""

    def __init__(
        self, program: Program, path: Path, settings: Environment, environment: Environment, directory: Path
    ) -> None:
        given = {name: value.format(**environment) for name, value in settings.items()}
        self._environment = {**environment, **given, "PATH": f"{path}{os.pathsep}{environment['PATH']}"}
        self._program, self._directory = program, directory
        self.version = re.findall(r"\d+\.\d+[\w.]*", self._run(program.version))[0]

    def act(self, name: str, *arguments: str) -> Any:
        values = dict(zip(ARGUMENTS[name], arguments, strict=True))
        return self._run([part.format(**self._environment, **values) for part in getattr(self._program, name)])

    def close(self) -> None: ...

    def _run(self, command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"no answer within {PATIENCE:.0f} seconds") from None
        if done.returncode:
            raise Failed(done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}")
        return done.stdout + done.stderr


Starts = Callable[[Environment, Path], Driver]
"""Starts a client with these variables alone, in that directory."""
