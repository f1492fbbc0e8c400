"""A real Redis on a UNIX socket: empty at first, kept nowhere, and gone with its test."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis, RedisError

from tests.support.engine import eventually
from tests.support.needs import need


class RedisServer:
    """`kill`, `freeze` and `thaw` are the faults; `start` brings an empty one back at the same address."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "redis.sock"
        self.url = f"unix://{self._socket}"
        self.client = Redis(unix_socket_path=str(self._socket))
        self.start()

    def start(self) -> None:
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig=KILL", "redis-server", "--port", "0", "--unixsocket", str(self._socket)),
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
def redis_server() -> Iterator[RedisServer]:
    """Skips the test where Redis is not installed."""
    need("redis")
    # Not under pytest's own directory: the path of a socket must stay short.
    with tempfile.TemporaryDirectory(prefix="tv-redis-") as directory:
        server = RedisServer(Path(directory))
        try:
            yield server
        finally:
            server.close()
