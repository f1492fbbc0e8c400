"""`tokenvend` in a process of its own, forked from one that has imported it: to import it takes a second."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

WITHIN = 60.0
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["app.cli.commands", "app.main"])


def tokenvend(
    *arguments: str, environment: Mapping[str, str], cwd: Path, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """What the command came to, with that environment alone. It has no terminal."""
    with tempfile.TemporaryDirectory() as directory:
        streams = [Path(directory, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin, encoding="utf-8")
        process = _forks.Process(target=_run, args=(arguments, dict(environment), cwd, streams))
        process.start()
        process.join(WITHIN)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, WITHIN)
        stdout, stderr = (stream.read_text(encoding="utf-8") for stream in streams[1:])
        return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)


@contextmanager
def begun(*arguments: str, environment: Mapping[str, str], cwd: Path) -> Iterator[BaseProcess]:
    """The command while it runs, to be killed."""
    streams = [cwd / f"begun.{name}" for name in ("stdin", "stdout", "stderr")]
    process = _forks.Process(target=_run, args=(arguments, dict(environment), cwd, streams))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _run(arguments: tuple[str, ...], environment: dict[str, str], cwd: Path, streams: list[Path]) -> None:
    from app.cli.commands import main  # noqa: PLC0415  # imported by now, but not in the process of the tests

    for descriptor, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDWR | os.O_CREAT, 0o600), descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # until the process ends
        for descriptor, mode in enumerate("rww")
    )
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["tokenvend", *arguments]
    main()
