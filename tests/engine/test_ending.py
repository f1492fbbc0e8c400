"""However the service ends, its engine ends with it, and nothing of it is left running."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from app import engine
from app.engine import config, directory
from tests.support.engine import eventually

pytestmark = [pytest.mark.all, pytest.mark.sampled(3)]

SERVICE = """
import signal, sys, time
from pathlib import Path
from app import engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests in the background may ignore it
with engine.start(Path(sys.argv[1])) as started:
    print(started.pid, flush=True)
    while True:  # signal.pause would miss a signal that comes just before it
        time.sleep(0.05)
"""


@contextmanager
def service(data_dir: Path) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """A process that holds an engine, in a process group of its own; and all processes of its engine."""
    command = [sys.executable, "-c", SERVICE, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as holder:
        assert holder.stdout is not None
        try:
            weed = psutil.Process(int(holder.stdout.readline()))
            yield holder, [weed, *psutil.Process(holder.pid).children(recursive=True)]
        finally:
            holder.kill()


def all_ended(processes: list[psutil.Process]) -> bool:
    return eventually(lambda: not any(process.is_running() for process in processes))


def leftovers(data_dir: Path) -> list[str]:
    first_port, _ = directory.kept(data_dir)
    return [path for path in config.leftover_sockets(first_port) if Path(path).exists()]


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
    def test_of_the_service_leaves_no_process(self, tmp_path: Path, number: signal.Signals) -> None:
        with service(tmp_path) as (holder, processes):
            assert len({process.pid for process in processes}) == 2  # SeaweedFS and its watchdog
            os.killpg(holder.pid, number)
            holder.wait(60)
            assert all_ended(processes)
        assert leftovers(tmp_path) == []

    def test_by_kill_lets_the_next_start_wait_for_it(self, tmp_path: Path) -> None:
        with service(tmp_path) as (holder, _):
            holder.kill()
            holder.wait(60)
            with engine.start(tmp_path) as started:
                assert psutil.pid_exists(started.pid)

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process die with its parent")
    def test_of_the_watchdog_ends_seaweedfs(self, tmp_path: Path) -> None:
        with engine.start(tmp_path) as started:
            weed = psutil.Process(started.pid)
            watchdog = weed.parent()
            assert watchdog is not None
            watchdog.kill()
            try:
                assert all_ended([weed])
            finally:
                with suppress(psutil.NoSuchProcess):
                    weed.kill()
        assert leftovers(tmp_path) == []

    def test_of_seaweedfs_ends_the_watchdog(self, tmp_path: Path) -> None:
        with engine.start(tmp_path) as started:
            weed = psutil.Process(started.pid)
            watchdog = weed.parent()
            assert watchdog is not None
            weed.kill()
            assert eventually(lambda: watchdog.status() == psutil.STATUS_ZOMBIE)  # we have not waited for it yet
            started.stop()
            assert not watchdog.is_running()
            started.stop()
