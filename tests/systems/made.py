"""What a system makes of passwords, and the programs that have it made by the system's own packages.

Each program reads the passwords and a key as JSON, and prints a list of systems as JSON.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.installs import once
from tests.support import node as npm
from tests.support.documents import ROOT
from tests.support.needs import need

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "systems"
PASSWORDS = {
    "plain": "violet tractor 1813",
    "decomposed": "cre\u0300me bru\u0302le\u0301e 1813",
    "80 bytes": "violet tractor moonlight over a copper lantern, and eighty bytes are all of it.",
    "a space at each end": " violet tractor 1813 ",
}
KEY = "a key of forty-two characters, more or less"
PATIENCE = 900.0
"""Seconds, for what is installed or computed."""


@dataclass(frozen=True)
class System:
    system: str
    version: str
    stored: str
    """What its hashes look like."""
    hashes: dict[str, str | None]
    """Of each password; None where the system itself refuses it."""
    prehash: str = ""


def by_python(program: str, version: str) -> list[System]:
    """By `python/with_PROGRAM.py`, in a virtual environment with what `python/PROGRAM.lock` names."""
    name = f"python{version}"
    interpreter = shutil.which(name, path=_pyenv(version)) or shutil.which(name)
    if interpreter is None:
        pytest.skip(f"Python {version} is missing")
    lock, directory = HERE / "python" / f"{program}.lock", BUILD / program
    with once(directory, [lock]) as wanted:
        if wanted:
            uv = Path(sys.executable).parent / "uv"
            _run([uv, "venv", "--quiet", "--clear", "--python", interpreter, directory])
            into = ["--python", directory / "bin" / "python", "--require-hashes", "-r", lock]
            _run([uv, "pip", "install", "--quiet", *into])
    return _made([directory / "bin" / "python", HERE / "python" / f"with_{program}.py"])


def by_this_python() -> list[System]:
    """By the packages of these tests alone."""
    return _made([sys.executable, HERE / "python" / "with_near.py"])


def by_node() -> list[System]:
    npm.install(HERE / "node")
    return _made(["node", HERE / "node" / "make.js"])


def by_php() -> list[System]:
    need("php")
    return _made(["php", HERE / "php" / "make.php", _debian("wordpress")])


def by_ruby() -> list[System]:
    need("ruby")
    return _made(["ruby", HERE / "ruby" / "make.rb", _debian("ruby-devise")])


def _debian(package: str) -> Path:
    """The files of a package of Debian's, without the hundreds that it would be installed with."""
    need("apt-get")
    directory = BUILD / package
    with once(directory, [Path(__file__)]) as wanted:
        if wanted:
            directory.mkdir(parents=True, exist_ok=True)
            _run(["apt-get", "download", "-q", package], directory)
            for file in directory.glob("*.deb"):
                _run(["dpkg-deb", "--extract", file, directory])
    return directory


def _made(command: list[str | Path]) -> list[System]:
    given = json.dumps({"passwords": PASSWORDS, "key": KEY})
    return [System(**each) for each in json.loads(_run(command, given=given))]


def _run(command: list[str | Path], directory: Path = HERE, given: str = "") -> str:
    done = subprocess.run(
        command, cwd=directory, input=given, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, (done.stderr or done.stdout)[-4000:]
    return done.stdout


def _pyenv(version: str) -> str:
    """The directories of pyenv's own. Its commands find only the version that is in use."""
    return ":".join(str(found) for found in Path.home().glob(f".pyenv/versions/{version}.*/bin"))
