"""Starting and stopping, as processes of their own."""

import errno
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.http.server import ServerError, bind, make_config, run
from tests.support import tiny

pytestmark = [pytest.mark.all, pytest.mark.sampled(5)]

SERVE = """
import gc
import sys
from app.http.server import ServerError, make_config, run

gc.disable()  # as `tokenvend serve` does

config = make_config(sys.argv[1], host="127.0.0.1", port=0, workers=int(sys.argv[2]), drain=int(sys.argv[3]))
try:
    run(config, on_ready=lambda: print("ready", config.port, flush=True))
except ServerError as error:
    sys.exit(str(error))
print("stopped", flush=True)
"""
WORKERS = pytest.mark.parametrize("workers", [1, 2])


class Serving:
    def __init__(self, workers: int, app: str = "tests.support.tiny:app", drain: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, app, str(workers), str(drain)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.port = int(words[1]) if words else 0
        self.family = [self.process.pid, *(child.pid for child in self.children())]

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def get(self, path: str = "/") -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer

    def end(self) -> tuple[str, str]:
        return self.process.communicate(timeout=60)

    def is_gone(self) -> bool:
        return all(is_gone(pid) for pid in self.family)

    def is_refused(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == errno.ECONNREFUSED


Start = Callable[..., Serving]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Serving] = []

    def start(*args: Any) -> Serving:
        started.append(Serving(*args))
        return started[-1]

    yield start
    for serving in started:
        for pid in serving.family:
            if psutil.pid_exists(pid):
                psutil.Process(pid).kill()
        serving.process.communicate()


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class TestStop:
    @WORKERS
    @pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
    def test_signal_ends_it_with_all_its_processes(self, start: Start, workers: int, sig: signal.Signals) -> None:
        serving = start(workers)
        assert serving.get()["path"] == "/"
        serving.process.send_signal(sig)
        output, _ = serving.end()
        assert (output, serving.process.returncode) == ("stopped\n", 0)
        assert len(serving.family) >= workers
        assert eventually(serving.is_gone)

    @WORKERS
    def test_request_under_way_is_finished_and_new_ones_are_refused(self, start: Start, workers: int) -> None:
        """Section 5, SIGTERM under load"""
        serving = start(workers)
        with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as client, client.makefile("rb") as file:
            head = b"POST /wait HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            client.sendall(head)
            assert file.readline() == b"HTTP/1.1 100 Continue\r\n"  # so the application has it in hand
            serving.process.send_signal(signal.SIGTERM)
            assert eventually(serving.is_refused)
            client.sendall(b"abc")
            answer = file.read()
        assert b"HTTP/1.1 200 OK\r\n" in answer
        assert b"connection: close\r\n" in answer
        assert b'"length": 3' in answer
        serving.end()
        assert serving.process.returncode == 0

    @WORKERS
    def test_drains_before_it_refuses(self, start: Start, workers: int) -> None:
        """Section 5, SIGTERM under load: whoever asks is served, and told, for as long as was agreed."""
        serving = start(workers, "tests.support.tiny:app", 2)
        assert serving.get()["draining"] is False
        serving.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: serving.get()["draining"])
        assert serving.get()["path"] == "/"
        assert eventually(serving.is_refused)
        assert serving.end()[0] == "stopped\n"

    @WORKERS
    @pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_signal_is_not_waited_out(self, start: Start, workers: int, second: signal.Signals) -> None:
        serving = start(workers, "tests.support.tiny:app", 20)
        serving.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: serving.get()["draining"])
        serving.process.send_signal(second)
        assert eventually(serving.is_refused)
        assert serving.end()[0] == "stopped\n"

    def test_an_interrupt_does_not_drain(self, start: Start) -> None:
        """Ctrl-C is a person who waits."""
        serving = start(1, "tests.support.tiny:app", 20)
        serving.process.send_signal(signal.SIGINT)
        assert eventually(serving.is_refused)
        assert serving.end()[0] == "stopped\n"

    def test_workers_end_when_their_supervisor_is_killed(self, start: Start) -> None:
        serving = start(2)
        serving.process.kill()
        assert eventually(serving.is_gone)
        assert serving.is_refused()

    def test_worker_that_dies_is_replaced(self, start: Start) -> None:
        serving = start(2)
        killed = serving.get()["pid"]
        psutil.Process(killed).kill()
        assert eventually(lambda: is_gone(killed))
        assert eventually(lambda: len({serving.get()["pid"] for _ in range(30)}) == 2)
        serving.family += [child.pid for child in serving.children()]
        serving.process.terminate()
        serving.end()
        assert eventually(serving.is_gone)


class TestWorkers:
    @pytest.mark.skipif(sys.platform != "linux", reason="a fork is safe on Linux alone")
    def test_share_what_their_supervisor_has_imported(self, start: Start) -> None:
        serving = start(2)
        answers = [serving.get() for _ in range(30)]
        assert {answer["imported_by"] for answer in answers} == {serving.process.pid}
        assert serving.process.pid not in {answer["pid"] for answer in answers}

    @WORKERS
    def test_collect_garbage(self, start: Start, workers: int) -> None:
        assert start(workers).get()["collects_garbage"]

    @WORKERS
    @pytest.mark.skipif(sys.platform != "linux", reason="for glibc")
    def test_keep_nothing_of_what_hashes_took(self, start: Start, workers: int) -> None:
        """19 MiB each, of which the C library would keep one a thread."""
        assert start(workers).get("/hashes")["grown"] < 5_000_000

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc says how many threads there are")
    def test_are_forked_from_a_process_with_one_thread(self, start: Start) -> None:
        """Another thread could hold a lock at that moment, and no worker could ever open it."""
        assert psutil.Process(start(2).process.pid).num_threads() == 1


class TestStart:
    @WORKERS
    @pytest.mark.parametrize(
        "app", ["tests.support.tiny:broken", "tests.support.tiny:absent", "tests.support.nowhere:app"]
    )
    def test_application_that_does_not_start_is_an_error(self, start: Start, workers: int, app: str) -> None:
        serving = start(workers, app)
        output, errors = serving.end()
        assert (output, serving.process.returncode) == ("", 1)
        assert errors.splitlines()[-1] == "The service did not start: the log above says why"

    def test_port_in_use_is_one_sentence(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ServerError) as error:
                run(make_config(tiny.app, host="127.0.0.1", port=port))
        assert str(error.value) == (
            f"Port {port} on 127.0.0.1 is in use: stop what listens there or choose another with --port"
        )

    def test_address_of_another_machine_is_one_sentence(self) -> None:
        with pytest.raises(ServerError, match=r"^Port 0 on 192\.0\.2\.1 cannot be listened on: .*assign"):
            bind("192.0.2.1", 0)

    def test_several_workers_need_an_import_string(self) -> None:
        with pytest.raises(ServerError, match="import string"):
            run(make_config(tiny.app, host="127.0.0.1", port=0, workers=2))

    def test_port_0_takes_a_free_one(self) -> None:
        with bind("127.0.0.1", 0) as listener:
            assert listener.getsockname()[1] != 0
