"""A deployment as operators have it, on this machine: two replicas behind haproxy, over PostgreSQL, Redis and STS."""

import csv
import io
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil

from app.records.migrate import upgrade
from tests.storms.deployment import environment
from tests.support.canned_sts import CannedSts
from tests.support.databases import DebianServer
from tests.support.engine import eventually
from tests.support.needs import need
from tests.support.ports import free_port
from tests.support.redis import RedisServer, redis_server

WORKERS = (1, 2)
"""Processes of each replica: alone, as in a container, and under one that watches over them."""
DRAIN_SECONDS = 2
HAPROXY = """
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout check 3s
    retries 3
    # Only what no replica has seen is sent to another: a POST is not to be done twice.
    retry-on conn-failure
    option redispatch 1
frontend all
    bind 127.0.0.1:{port}
    stats enable
    stats uri /balancer
    default_backend replicas
backend replicas
    option httpchk GET /readyz
    default-server check inter 300ms fall 1 rise 1
"""


class Replica:
    """`tokenvend serve`, started, stopped and killed again and again at one port."""

    def __init__(self, directory: Path, env: dict[str, str], workers: int) -> None:
        self.port = free_port()
        self._directory, self._env, self._workers = directory, env, workers
        self._log = directory / f"serve-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve", "--port", str(self.port), "--workers", str(self._workers)],
                cwd=self._directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def terminate(self) -> int:
        """In good order; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def kill(self) -> None:
        if self._process is not None:
            workers = psutil.Process(self._process.pid).children() if self._process.poll() is None else []
            self._process.kill()
            self._process.wait()
            psutil.wait_procs(workers, timeout=60)  # who miss the one that watched over them

    def is_ready(self) -> bool:
        return status(self.port, "/readyz") == 200

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


class Standby(DebianServer):
    """Streams from a primary, which waits for it at each commit: what was accepted is on both."""

    def __init__(self, primary: DebianServer) -> None:
        super().__init__()
        self.run("pg_basebackup", "-R", "-X", "stream", "-h", str(primary.directory), "-U", "postgres")
        self.start("hot_standby=on")

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-w")


class Cluster:
    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.sts = CannedSts()
        stack.callback(self.stop_sts)
        self._sts_port = int(self.sts.url.rpartition(":")[2])
        self.redis: RedisServer = stack.enter_context(redis_server())
        self.primary = DebianServer()
        stack.callback(self.primary.close)
        self.primary.create()
        self.primary.start()
        self.standby = Standby(self.primary)
        stack.callback(self.standby.close)
        self.primary.run("pg_ctl", "-m", "fast", "-w", "stop")
        self.primary.start("synchronous_standby_names=*")
        hosts = f"host={self.primary.directory}&host={self.standby.directory}"
        self.database_url = f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write"
        upgrade(self.database_url)
        env = environment(self.database_url, self.sts.url, self.redis.url) | {
            "TOKENVEND_RATE_LIMITS": "on",
            "TOKENVEND_RATE_LIMIT_URL": self.redis.url,
            "TOKENVEND_TRUSTED_PROXIES": "127.0.0.1",
            "TOKENVEND_DRAIN_SECONDS": str(DRAIN_SECONDS),
        }
        self.replicas = [Replica(directory, env, workers) for workers in WORKERS]
        for replica in self.replicas:
            stack.callback(replica.kill)
            replica.start()
        self.port = free_port()
        stack.enter_context(_haproxy(directory, self.port, [replica.port for replica in self.replicas]))
        assert self.becomes_ready(within=300) is not None, self.replicas[0].log()  # a busy machine starts slowly

    def stop_sts(self) -> None:
        self.sts.close()

    def start_sts(self) -> None:
        self.sts = CannedSts(port=self._sts_port)

    def becomes_ready(self, within: float = 60) -> float | None:
        """The seconds until every replica is, and the balancer knows; None if it takes longer."""
        began = time.monotonic()
        ready = eventually(
            lambda: all(replica.is_ready() for replica in self.replicas) and self._balanced() == len(WORKERS),
            within=within,
        )
        return time.monotonic() - began if ready else None

    def _balanced(self) -> int:
        """How many replicas the balancer sends requests to."""
        with urlopen(f"http://127.0.0.1:{self.port}/balancer;csv", timeout=5) as answer:
            text = answer.read().decode().removeprefix("# ")
        rows = csv.DictReader(io.StringIO(text))
        return sum(row["svname"].startswith("replica") and row["status"] == "UP" for row in rows)


@contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """Skips the test where a part is not installed."""
    for part in ("haproxy", "redis", "postgresql"):
        need(part)
    with ExitStack() as stack:
        yield Cluster(directory, stack)


@contextmanager
def _haproxy(directory: Path, port: int, replicas: list[int]) -> Iterator[None]:
    servers = [f"    server replica{number} 127.0.0.1:{replica}\n" for number, replica in enumerate(replicas)]
    configuration = directory / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(port=port) + "".join(servers))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(["haproxy", "-db", "-f", configuration], stdout=log, stderr=log)
        try:
            assert eventually(lambda: status(port, "/balancer") == 200)
            yield
        finally:
            process.kill()
            process.wait()


def status(port: int, path: str) -> int | None:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return None
