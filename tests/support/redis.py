"""A real Redis on a UNIX socket: empty at first, kept nowhere, and gone with its test. And three as a cluster."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis, RedisError

from tests.support.engine import eventually
from tests.support.needs import need
from tests.support.ports import free_port

SLOTS = 16_384
"""Of a cluster."""


class RedisServer:
    """`kill`, `freeze` and `thaw` are the faults; `start` brings an empty one back at the same address."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        """`options` are further ones of redis-server. With a `port`, it listens there on loopback too."""
        self._directory = directory
        self._options = ("--port", str(port), "--bind", "127.0.0.1", *options)
        self._socket = directory / "redis.sock"
        self.path = str(self._socket)
        self.url = f"unix://{self._socket}"
        self.client = Redis(unix_socket_path=str(self._socket))
        self.start()

    def start(self) -> None:
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig=KILL", "redis-server", "--unixsocket", str(self._socket)),
                    *self._options,
                    *("--save", "", "--appendonly", "no", "--dir", str(self._directory)),
                ],
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if not eventually(self._answers):
            self.close()
            raise AssertionError((self._directory / "redis.log").read_text(errors="replace")[-4000:])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It still takes connections, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stored(self) -> set[str]:
        """The keys of all that is in it."""
        return {key.decode() for key in self.client.scan_iter()}

    def close(self) -> None:
        self.client.close()
        self.kill()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (RedisError, OSError):
            return False


@contextmanager
def redis_server(*options: str, port: int = 0) -> Iterator[RedisServer]:
    """Skips the test where Redis is not installed."""
    need("redis")
    # Not under pytest's own directory: the path of a socket must stay short.
    with tempfile.TemporaryDirectory(prefix="tv-redis-") as directory:
        server = RedisServer(Path(directory), *options, port=port)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def redis_cluster(*options: str) -> Iterator[list[tuple[int, RedisServer]]]:
    """Three primaries, each with a third of the slots, by the port on loopback. Skips the test without Redis."""
    with ExitStack() as stack:
        nodes: list[tuple[int, RedisServer]] = []
        buses: list[int] = []
        for _ in range(3):
            port, bus = free_port(), free_port()
            more = ("--cluster-enabled", "yes", "--cluster-port", str(bus), *options)
            nodes.append((port, stack.enter_context(redis_server(*more, port=port))))
            buses.append(bus)
        for number, (_, node) in enumerate(nodes):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for (port, _), bus in zip(nodes[1:], buses[1:], strict=True):
            nodes[0][1].client.execute_command("CLUSTER MEET", "127.0.0.1", port, bus)

        def is_whole() -> bool:
            told = [str(node.client.execute_command("CLUSTER INFO")) for _, node in nodes]
            return all(re.search(r"cluster_state\W+ok.*cluster_known_nodes\W+3", info, re.DOTALL) for info in told)

        assert eventually(is_whole)
        yield nodes
