"""The README's two commands, typed into a clean clone, and its five calls."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.conftest import DevServer
from tests.support.documents import blocks
from tests.support.ports import free_port

ROOT = Path(__file__).parent.parent
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
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    yield directory
    shutil.rmtree(directory)


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
            env=outside_environment(),
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
            assert lines[-1] == f"ready http://127.0.0.1:{port}"
            assert httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            assert "<title>" in httpx2.get(f"http://127.0.0.1:{port}/demo").text
            family = psutil.Process(process.pid).children(recursive=True)
            assert any("weed" in child.name() for child in family)
            assert (clone / "var" / "tokenvend.db").exists()
        finally:
            os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
            process.wait(timeout=60)
            process.stdout.close()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []

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


@pytest.mark.xdist_group("client")  # they share one service
def test_five_calls_put_a_picture_into_the_bucket(dev_server: DevServer, tmp_path: Path) -> None:
    (code,) = [block.code for block in blocks(ROOT / "README.md") if "aws-sigv4" in block.code]
    for stands, here in {
        "http://localhost:8000": dev_server.url.replace("127.0.0.1", "localhost"),
        "ada@example.org": f"{uuid.uuid4()}@example.org",
    }.items():
        assert stands in code
        code = code.replace(stands, here)
    shutil.copy(PHOTOGRAPH, tmp_path / "picture.jpg")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=tmp_path,
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "same-picture.jpg").read_bytes() == PHOTOGRAPH.read_bytes()
