"""The README's two commands, typed into a clean clone, and its five calls."""

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from app.cli import local_stack
from tests.conftest import DevServer
from tests.support.documents import blocks
from tests.support.engine import eventually
from tests.support.ports import free_port
from tests.support.service import test_settings

ROOT = Path(__file__).parent.parent
PASSWORD = "violet tractor moonlight"
PHOTOGRAPH = ROOT / "tests" / "photos" / "china.jpg"


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """What a clone holds: every file git tracks or would, and nothing else.

    It is no temporary file in memory: what it installs is a gigabyte, or links to what the packages' cache has on disk.
    """
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("git is missing, or this is no checkout")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="clone-", dir=build))
    for name in tracked():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, directory / name)
    yield directory
    shutil.rmtree(directory)


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()]


def outside_environment() -> dict[str, str]:
    """The environment of a shell: nothing of this test run's virtual environment."""
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if ".venv" not in p)
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TOKENVEND_", "AWS_", "PYTEST_", "VIRTUAL_ENV", "MAKE", "MFLAGS"))
    } | {"PATH": path}


@pytest.mark.all
@pytest.mark.xdist_group("readme")
class TestTwoCommands:
    def test_are_the_ones_the_readme_names(self) -> None:
        section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Try it")[1].split("\n## ")[0]
        assert re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL) == ["make run", "make test"]

    def test_make_run_serves_the_sample_app(self, clone: Path) -> None:
        port = free_port()
        process = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=clone,
            env=outside_environment()
            | {"HOST": "this-machine", "TOKENVEND_RATE_LIMITS": "off"},  # tcsh sets the former
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            lines = []
            for line in process.stdout:
                lines.append(line.strip())
                if line.startswith("ready "):
                    break
            assert lines[-1] == f"ready http://localhost:{port}"
            banner = [process.stdout.readline().strip() for _ in range(9)]
            assert httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            assert "<title>" in httpx2.get(f"http://127.0.0.1:{port}/demo").text
            family = psutil.Process(process.pid).children(recursive=True)
            assert any("weed" in child.name() for child in family)
            assert (clone / "var" / "tokenvend.db").exists()
            (admin,) = [line.split("  ")[-1] for line in banner if "make admin" in line]
            said = in_terminal(admin, clone, passwords=["short", PASSWORD, PASSWORD])
            assert said[0].startswith("Password (at least 8 characters")
            assert "Use 8 characters or more." in said
            assert said[-2].startswith("you@example.org is an administrator")
            assert said[-1] == f"Sign in at http://localhost:{port}/console"
            body = {"email": "you@example.org", "password": PASSWORD}
            assert httpx2.post(f"http://127.0.0.1:{port}/v1/auth/login", json=body).status_code == 200
        finally:
            os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
            process.wait(timeout=60)
            process.stdout.close()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []

    def test_make_run_installs_what_running_needs(self, clone: Path) -> None:
        assert size(clone / ".venv") < 400 * 2**20
        assert not (clone / ".venv" / "bin" / "pytest").exists()

    @pytest.mark.long
    def test_make_test_runs_the_tests(self, clone: Path) -> None:
        done = subprocess.run(
            ["make", "test", "TESTS=tests/test_documentation.py -n 0"],
            cwd=clone,
            env=outside_environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert " passed" in done.stdout

    def test_make_wheel_builds_a_package(self, clone: Path) -> None:
        subprocess.run(
            ["make", "wheel"], cwd=clone, env=outside_environment(), capture_output=True, check=True, timeout=180
        )
        (wheel,) = (clone / "dist").glob("tokenvend-*.whl")
        with zipfile.ZipFile(wheel) as package:
            assert {"app/main.py", "app/pages/demo/index.html"} <= set(package.namelist())

    def test_make_run_keeps_what_developers_installed(self, clone: Path) -> None:
        would = subprocess.run(
            ["make", "-n", "run"], cwd=clone, env=outside_environment(), capture_output=True, text=True, check=True
        )
        assert would.stdout.split() == [".venv/bin/tokenvend", "dev", "--port", "8000"]

    def test_make_admin_asks_whose(self, clone: Path) -> None:
        environment = {name: value for name, value in outside_environment().items() if name != "EMAIL"}
        refused = subprocess.run(
            ["make", "admin"], cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert (refused.returncode, refused.stdout) == (2, "Say whose: make admin EMAIL=you@example.org\n")

    def test_make_clean_leaves_all_beside_a_running_service(self, tmp_path: Path) -> None:
        shutil.copy(ROOT / "Makefile", tmp_path)
        (tmp_path / ".venv").mkdir()
        (tmp_path / "var").mkdir()
        with local_stack.noted(tmp_path / "var", test_settings(), "http://localhost:8000"):
            refused = self.clean(tmp_path)
        assert (refused.returncode, f"runs as process {os.getpid()}" in refused.stdout) == (2, True)
        assert (tmp_path / ".venv").is_dir()
        assert self.clean(tmp_path).returncode == 0
        assert not (tmp_path / ".venv").exists()

    def clean(self, directory: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", "clean"], cwd=directory, env=outside_environment(), capture_output=True, text=True, check=False
        )

    def test_make_clean_leaves_what_the_clone_had_and_the_data(self, clone: Path) -> None:
        subprocess.run(["make", "clean"], cwd=clone, env=outside_environment(), capture_output=True, check=True)
        left = {path.relative_to(clone).as_posix() for path in clone.rglob("*") if path.is_file()}
        assert {name for name in left if not name.startswith("var/")} == set(tracked())
        assert "var/tokenvend.db" in left


def size(directory: Path) -> int:
    return sum(path.stat(follow_symlinks=False).st_blocks * 512 for path in directory.rglob("*"))


def in_terminal(command: str, directory: Path, *, passwords: list[str]) -> list[str]:
    """What a command says that asks for passwords."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execvpe("sh", ["sh", "-c", command], outside_environment())
    said = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while piece := os.read(terminal, 1000):
            said += piece
            if piece.rstrip().endswith(b":"):  # then the echo is turned off, and what was typed before is thrown away
                assert eventually(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO)
                os.write(terminal, f"{passwords.pop(0)}\n".encode())
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, said
    return said.decode().split("\r\n")[:-1]


@pytest.mark.xdist_group("client")  # they share one service
def test_five_calls_put_a_picture_into_the_bucket(dev_server: DevServer, tmp_path: Path) -> None:
    (code,) = [block.code for block in blocks(ROOT / "README.md") if "aws-sigv4" in block.code]
    assert "http://localhost:8000" in code
    code = code.replace("http://localhost:8000", dev_server.url)
    shutil.copy(PHOTOGRAPH, tmp_path / "picture.jpg")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{code}\n{code}"],  # people paste it again
        cwd=tmp_path,
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "same-picture.jpg").read_bytes() == PHOTOGRAPH.read_bytes()
