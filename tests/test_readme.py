"""The README's two commands, typed into a clean clone."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.support.ports import free_port

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone holds: every file git tracks or would, and nothing else."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the clone is made by git: run the tests in a checkout, with git installed")
    directory = tmp_path_factory.mktemp("clone") / "tokenvend"
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
    return directory


def outside_environment() -> dict[str, str]:
    """The environment of a shell: nothing of this test run's virtual environment."""
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if ".venv" not in p)
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TOKENVEND_", "AWS_", "PYTEST_", "VIRTUAL_ENV", "MAKE", "MFLAGS"))
    } | {"PATH": path}


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
