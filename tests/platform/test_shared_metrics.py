"""Metrics of several workers as one sum: in this process, and from a real `tokenvend serve --workers 2`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest
from prometheus_client import values
from prometheus_client.values import MultiProcessValue

from app.platform import shared_metrics
from app.platform.metrics import Metrics
from tests.support.canned_sts import CannedSts
from tests.support.databases import SqliteDatabases
from tests.support.engine import eventually
from tests.support.ports import free_port
from tests.support.service import ROLE_ARN, SECRET_KEY

SERIES = re.compile(r"^(tokenvend_\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def read(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in SERIES.findall(text)}


@dataclass
class Worker:
    """A worker in this process. Only `at_work` may it touch its metrics: prometheus_client has one place for files."""

    pid: int
    directory: Path
    patch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self._values = MultiProcessValue(lambda: self.pid)
        with self.at_work():
            self.metrics = Metrics()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with self.patch.context() as patch:
            patch.setattr(values, "ValueClass", self._values)
            patch.setattr(shared_metrics, "_joined", self.directory)
            patch.setenv(shared_metrics.VARIABLE, str(self.directory))
            yield

    def scrape(self) -> dict[str, float]:
        with self.at_work():
            return read(self.metrics.render().decode())


@pytest.fixture
def directory() -> Iterator[Path]:
    with shared_metrics.folder() as made:
        yield made
    assert not made.exists()


@pytest.fixture
def workers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Worker, Worker]:
    return Worker(11, directory, monkeypatch), Worker(111, directory, monkeypatch)


def count(worker: Worker, times: int) -> None:
    with worker.at_work():
        for _ in range(times):
            worker.metrics.vends.labels("issued").inc()
            worker.metrics.count_request("GET", "/v1/me", 200, 0.02)


ISSUED = 'tokenvend_vends_total{source="issued"}'
REQUESTS = 'tokenvend_http_seconds_count{method="GET",route="/v1/me",status="200"}'
QUICK = 'tokenvend_http_seconds_bucket{le="0.025",method="GET",route="/v1/me",status="200"}'


class TestSum:
    def test_is_the_same_whichever_worker_is_asked(self, workers: tuple[Worker, Worker]) -> None:
        count(workers[0], 3)
        count(workers[1], 4)
        for worker in workers:
            scraped = worker.scrape()
            assert (scraped[ISSUED], scraped[REQUESTS], scraped[QUICK]) == (7, 7, 7)
            assert scraped['tokenvend_http_seconds_bucket{le="0.005",method="GET",route="/v1/me",status="200"}'] == 0

    def test_of_a_dead_worker_stays(self, directory: Path, workers: tuple[Worker, Worker]) -> None:
        """A counter that falls is a restart to Prometheus, and `rate` invents traffic."""
        count(workers[0], 3)
        count(workers[1], 4)
        shared_metrics.bury(directory, workers[1].pid)
        assert workers[0].scrape()[ISSUED] == 7
        successor = Worker(112, directory, workers[0].patch)
        count(successor, 1)
        shared_metrics.bury(directory, successor.pid)
        scraped = workers[0].scrape()
        assert (scraped[ISSUED], scraped[REQUESTS], scraped[QUICK]) == (8, 8, 8)

    def test_leaves_no_file_for_each_crash(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for pid in range(20, 25):
            worker = Worker(pid, directory, monkeypatch)
            count(worker, 1)
            shared_metrics.bury(directory, pid)
        left = sorted(file.name for file in directory.iterdir())
        assert left == ["counter_dead.db", "gauge_mostrecent_dead.db", "histogram_dead.db", "lock"]

    def test_outlives_a_worker_that_died_while_it_made_a_file(
        self, directory: Path, workers: tuple[Worker, Worker]
    ) -> None:
        count(workers[0], 1)
        (directory / "counter_7.db").touch()
        shared_metrics.bury(directory, 7)
        assert workers[0].scrape()[ISSUED] == 1

    def test_knows_nothing_of_a_worker_that_never_was(self, directory: Path, workers: tuple[Worker, Worker]) -> None:
        count(workers[0], 1)
        shared_metrics.bury(directory, 1)
        assert workers[1].scrape()[ISSUED] == 1


class TestGauges:
    def test_of_work_are_added_for_the_workers_that_live(self, directory: Path, workers: tuple[Worker, Worker]) -> None:
        for number, worker in enumerate(workers):
            with worker.at_work():
                worker.metrics.watch(worker.metrics.database_waiting, lambda number=number: number + 1)
                worker.metrics.database_pool_size.set(10)
                worker.metrics.look()
        scraped = workers[0].scrape()
        assert (scraped["tokenvend_database_waiting"], scraped["tokenvend_database_pool_size"]) == (3, 20)
        shared_metrics.bury(directory, workers[1].pid)
        scraped = workers[0].scrape()
        assert (scraped["tokenvend_database_waiting"], scraped["tokenvend_database_pool_size"]) == (1, 10)

    def test_of_faults_are_set_as_long_as_one_worker_has_the_fault(self, workers: tuple[Worker, Worker]) -> None:
        with workers[0].at_work():
            workers[0].metrics.limits_local.set(1)
        with workers[1].at_work():
            workers[1].metrics.limits_local.set(0)
        assert workers[1].scrape()["tokenvend_limits_local"] == 1

    def test_of_what_all_share_are_as_they_were_last_seen(
        self, directory: Path, workers: tuple[Worker, Worker]
    ) -> None:
        """By whichever worker, and also after its death: an alarm stays until somebody sees better."""
        for worker, broken in ((workers[0], 0), (workers[1], 1)):
            with worker.at_work():
                worker.metrics.canary_broken.set(broken)
        assert workers[0].scrape()["tokenvend_canary_broken"] == 1
        shared_metrics.bury(directory, workers[1].pid)
        assert workers[0].scrape()["tokenvend_canary_broken"] == 1
        with workers[0].at_work():
            workers[0].metrics.canary_broken.set(0)
        assert workers[0].scrape()["tokenvend_canary_broken"] == 0

    def test_that_nobody_has_set_are_there(self, workers: tuple[Worker, Worker]) -> None:
        assert workers[0].scrape()["tokenvend_canary_passed_timestamp_seconds"] == 0


class TestScrape:
    def test_has_the_metrics_of_a_single_process(self, workers: tuple[Worker, Worker]) -> None:
        """Names, types, texts and labels alike, so that no alert or panel needs to know how many workers there are."""
        alone = Metrics()
        alone.vends.labels("issued").inc()
        alone.count_request("GET", "/v1/me", 200, 0.02)
        count(workers[1], 1)
        with workers[0].at_work():
            shared = workers[0].metrics.render().decode()
        assert sorted(shared.splitlines()) == sorted(alone.render().decode().splitlines())

    def test_tells_own_work_alone_to_the_statistics(self, workers: tuple[Worker, Worker]) -> None:
        """Each worker adds its own calls to the database: the sum would count them once for each."""
        for worker in workers:
            with worker.at_work():
                worker.metrics.count_call("AssumeRole", "eu-central-1", "ok", 0.1)
        assert [worker.metrics.work().sts_calls for worker in workers] == [1, 1]


SERVE = """
import sys
from app.cli.commands import main
from app.http import server

run = server.run
server.run = lambda config, **_: run(config, on_ready=lambda: print("ready", flush=True))
sys.argv = ["tokenvend", "serve", "--port", sys.argv[1], "--workers", "2"]
main()
"""
"""`tokenvend serve`, which also says when its supervisor has seen all workers ready."""


@pytest.mark.all
class TestServe:
    def test_with_two_workers_shows_one_sum(self, sqlite_databases: SqliteDatabases, tmp_path: Path) -> None:
        """Whichever worker answers, and after one of them was killed."""
        sts, port = CannedSts(), free_port()
        log = tmp_path / "log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(port)],
                cwd=tmp_path,
                env=environment(sqlite_databases.create(tmp_path), port, sts),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", log.read_text()
            url = f"http://127.0.0.1:{port}"
            assert scrape(url)["tokenvend_database_pool_size"] == 2 * 3
            ask(f"{url}/v1/me", 40)
            series = 'tokenvend_http_seconds_count{method="GET",route="/v1/me",status="401"}'
            assert [scrape(url)[series] for _ in range(12)] == [40] * 12
            maps = psutil.Process(next(iter(workers_of(process.pid)))).memory_maps()
            (folder,) = {Path(one.path).parent for one in maps if "tokenvend-metrics-" in one.path}
            assert folder.stat().st_mode & 0o077 == 0
            killed = next(iter(workers_of(process.pid)))
            psutil.Process(killed).kill()
            ask(f"{url}/v1/me", 10)
            assert eventually(lambda: len(workers_of(process.pid) - {killed}) == 2, within=60)
            assert eventually(lambda: not list(folder.glob(f"*_{killed}.db")), within=60)
            assert eventually(lambda: scrape(url)["tokenvend_database_pool_size"] == 2 * 3, within=60)
            assert [scrape(url)[series] for _ in range(12)] == [50] * 12
            process.terminate()
            process.wait(timeout=60)
            assert not folder.exists()
        finally:
            for worker in workers_of(process.pid) if process.poll() is None else ():
                psutil.Process(worker).kill()
            process.kill()
            process.communicate()
            sts.close()


def environment(database_url: str, port: int, sts: CannedSts) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    return plain | {
        "AWS_ACCESS_KEY_ID": "AKIABROKERBROKER",
        "AWS_SECRET_ACCESS_KEY": "canary-broker-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_DATABASE_POOL_SIZE": "3",
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": sts.url,
    }


def workers_of(pid: int) -> set[int]:
    """Those that live. Of a dead one its supervisor may not have noticed yet."""
    found = set()
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def ask(url: str, times: int) -> None:
    """On connections of their own, so that both workers get some."""
    for _ in range(times):
        assert eventually(lambda: is_refused(url), within=30)


def is_refused(url: str) -> bool:
    """False if the worker was killed that had taken the connection."""
    try:
        urlopen(url, timeout=5)
    except HTTPError:
        return True
    except OSError:
        return False
    return False


def scrape(url: str) -> dict[str, float]:
    with urlopen(f"{url}/metrics", timeout=5) as answer:
        return read(answer.read().decode())
