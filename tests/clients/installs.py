"""Installs clients into `build/clients`, each once for a lock or a source. Tests skip what cannot be had here."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import node as npm
from tests.support.documents import ROOT
from tests.support.needs import need

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "clients"
OLDEST_GO = (1, 21)
"""The first that fetches the toolchain which a module asks for."""
PATIENCE = 1800.0
"""Seconds. A client in Rust compiles two hundred packages."""


def python(name: str) -> Path:
    """The interpreter of a virtual environment with what `python/NAME.lock` names."""
    lock, directory = HERE / "python" / f"{name}.lock", BUILD / f"python-{name}"
    with once(directory, [lock]) as wanted:
        if wanted:
            _run([_uv(), "venv", "--quiet", "--clear", "--python", sys.executable, directory], HERE)
            into = ["--python", directory / "bin" / "python", "--require-hashes", "-r", lock]
            _run([_uv(), "pip", "install", "--quiet", *into], HERE)
    return directory / "bin" / "python"


def node() -> Path:
    """The directory of the scripts, beside which their packages are."""
    npm.install(HERE / "node")
    return HERE / "node"


def go(name: str) -> Path:
    need("go")
    version = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_GO:
        pytest.skip(f"Go {'.'.join(map(str, OLDEST_GO))} or newer is missing: this is {version}")
    sources, made = HERE / "go", BUILD / "go" / name
    with once(made.parent / f"of-{name}", sorted([*sources.rglob("*.go"), *sources.glob("go.*")])) as wanted:
        if wanted:
            _run(["go", "build", "-o", made, f"./{name}"], sources)
    return made


def rust() -> Path:
    need("cargo")
    sources, target = HERE / "rust", BUILD / "rust"
    with once(target, [sources / "Cargo.lock", sources / "src" / "main.rs"]) as wanted:
        if wanted:
            _run(["cargo", "build", "--quiet", "--locked", "--target-dir", target], sources)
    return target / "debug" / "clients"


def java() -> tuple[str | Path, ...]:
    """The command that starts the client."""
    need("maven")
    sources, target = HERE / "java", BUILD / "java"
    with once(target, [sources / "pom.xml", *sources.rglob("*.java")]) as wanted:
        if wanted:
            shutil.copytree(sources, target, dirs_exist_ok=True)
            _run(["mvn", "--batch-mode", "--quiet", "compile", "dependency:copy-dependencies"], target)
    return "java", "-cp", f"{target}/target/classes:{target}/target/dependency/*", "Client"


def found(program: str) -> Path:
    """The directory of a program of Debian's."""
    need(program)
    path = shutil.which(program)
    assert path is not None
    return Path(path).parent


@contextmanager
def once(directory: Path, sources: Sequence[Path]) -> Iterator[bool]:
    """Whether it is to be made: no run that ended well has made it of these sources."""
    directory.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()
    with directory.with_name(f"{directory.name}.made").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)  # another process of the tests' may be at it
        made.seek(0)
        if made.read() == digest:
            yield False
            return
        made.truncate(0)
        yield True
        made.write(digest)


def _uv() -> Path:
    return Path(sys.executable).parent / "uv"


def _run(command: Sequence[str | Path], directory: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, (done.stderr or done.stdout)[-4000:]
