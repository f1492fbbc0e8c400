"""Serves the application: uvicorn with our protocol, in one process or several, until it is told to stop.

SIGTERM drains first: for a few seconds `/readyz` answers 503 and everything else is served as before. So the load
balancer stops sending requests before connections are refused. Then the running requests are finished.
"""

import contextlib
import ctypes
import errno
import functools
import gc
import importlib
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn._subprocess import subprocess_started
from uvicorn.supervisors import Multiprocess, multiprocess

from app.http.protocol import Protocol
from app.platform import forks, shared_metrics
from app.platform.settings import KEEP_ALIVE

BACKLOG = 2048
"""Connections that may wait to be accepted: after a deployment all apps reconnect at once. somaxconn may lower it."""

_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 20
"""Bytes."""


class ServerError(Exception):
    """The server cannot be started. The message is a sentence for the operator."""


class _Config(uvicorn.Config):
    drain_seconds = 0
    metrics: Path | None = None
    """The folder for the metrics of several workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.draining = forks.CONTEXT.Event()
        """Set while this process and its workers drain."""

    def load(self) -> None:
        is_worker = self.workers > 1 and multiprocessing.parent_process() is not None
        if is_worker and self.metrics is not None:
            shared_metrics.join(self.metrics)
        super().load()
        if (state := getattr(self.loaded_app, "state", None)) is not None:
            state.draining = self.draining
        # Objects from start-up stay. Collecting them again and again would take a fifth of each request's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()
        if is_worker:
            threading.Thread(target=_end_with_parent, args=(self.metrics,), daemon=True).start()


def _end_with_parent(metrics: Path | None) -> None:
    """Ends this worker when its supervisor ends. uvicorn's workers outlive a killed supervisor and keep its port."""
    forks.wait_for_parent_to_end()
    if metrics is not None:
        shutil.rmtree(metrics, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)


def make_config(
    app: str | Callable[..., Any],
    *,
    host: str,
    port: int,
    workers: int = 1,
    factory: bool = False,
    drain: int = 0,
    keep_alive: int = KEEP_ALIVE,
) -> uvicorn.Config:
    """`drain`: for how many seconds after SIGTERM only `/readyz` changes. `app.state.draining` is set for that time.

    `keep_alive`: for how many seconds an idle connection is kept.
    """
    config = _Config(
        app,
        host=host,
        port=port,
        workers=workers,
        factory=factory,
        interface="asgi3",
        lifespan="on",
        loop="auto",  # uvloop where it is installed
        http=Protocol,
        ws="none",
        log_config=None,  # the application configures logging
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application checks X-Forwarded-For: uvicorn would trust it from loopback
        # If we closed an idle connection before the load balancer does, it could send a request into a closing socket
        # and answer 502.
        timeout_keep_alive=keep_alive,
        # Kubernetes and ECS kill a process 30 s after SIGTERM. Running requests get this time, less the time of
        # draining and of the application's shutdown. uvicorn's default waits for ever.
        timeout_graceful_shutdown=25 - drain,
        # None: uvicorn counts idle connections too, so an idle server would refuse a load balancer's pool, with a
        # bare 503. Deadlines and `Protocol.most_connections` bound connections, and limiters bound work.
        limit_concurrency=None,
        backlog=BACKLOG,
    )
    config.drain_seconds = drain
    return config


def bind(host: str, port: int, *, other: str = "--port") -> socket.socket:
    """The listening socket. Port 0 takes a free port. Raises `ServerError`, which says that `other` chooses one."""
    v6 = ":" in host
    where = f"Port {port} on {host}"
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if v6 else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=v6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            mend = f"stop what listens there or choose another with {other}"
            raise ServerError(f"{where} is in use: {mend}") from error
        raise ServerError(f"{where} cannot be listened on: {error.strerror}") from error


class _Server(uvicorn.Server):
    on_ready: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.on_ready is not None and not self.should_exit:
            self.on_ready()

    leaves_at: float | None = None
    """When draining ends, in monotonic seconds; None before it has begun."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        assert isinstance(self.config, _Config)
        if sig == signal.SIGTERM and self.config.drain_seconds and self.leaves_at is None:
            self.config.draining.set()
            self.leaves_at = time.monotonic() + self.config.drain_seconds
            return
        super().handle_exit(sig, frame)
        # After the shutdown uvicorn raises the recorded signals again. The process would die of a signal that it
        # has obeyed, before its caller can close anything.
        self._captured_signals.clear()

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or (self.leaves_at is not None and time.monotonic() >= self.leaves_at)
        return await super().on_tick(counter)


class _Worker(multiprocess.Process):
    """Forked where that is safe. uvicorn would start each anew, with all that is imported in memory of its own."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        if forks.SHARED:
            self.process = forks.make(
                functools.partial(
                    subprocess_started, config=config, target=self.target, sockets=sockets, stdin_fileno=None
                )
            )

    def start(self) -> None:
        if forks.SHARED:
            forks.start(self.process)
        else:
            super().start()


multiprocess.Process = _Worker  # type: ignore[misc]  # uvicorn's supervisor has no other way to be told


class _Supervisor(Multiprocess):
    on_ready: Callable[[], None] | None = None
    ready = False
    failed = False
    drains = False
    alive: frozenset[int | None] = frozenset()

    def handle_signals(self) -> None:
        super().handle_signals()
        self._bury_dead()
        multiprocessing.active_children()  # forgets those that have ended, such as what told of the readiness

    def _bury_dead(self) -> None:
        assert isinstance(self.config, _Config)
        now = frozenset(process.pid for process in self.processes)
        for pid in self.alive - now:
            if pid is not None and self.config.metrics is not None:
                shared_metrics.bury(self.config.metrics, pid)
        self.alive = now

    def handle_term(self) -> None:
        self.drains = True
        super().handle_term()

    def keep_subprocess_alive(self) -> None:
        if self.should_exit.is_set():
            return
        if self.ready:
            super().keep_subprocess_alive()
            self.failed = self.should_exit.is_set()
        elif any(process.exitcode is not None for process in self.processes):
            # uvicorn would restart a worker that cannot start, twice a second, for ever.
            self.failed = True
            self.should_exit.set()
        elif all(process.is_ready(timeout=1) for process in self.processes):
            self.ready = True
            if self.on_ready is not None:
                self.on_ready()

    def terminate_all(self) -> None:
        assert isinstance(self.config, _Config)
        if self.drains and self.config.drain_seconds:
            self.config.draining.set()
            leaves_at = time.monotonic() + self.config.drain_seconds
            while time.monotonic() < leaves_at and not self.signal_queue:  # a second signal ends the wait
                time.sleep(0.1)
        # While a copy of the socket is open, the kernel accepts connections that nobody serves.
        for sock in self.sockets:
            sock.close()
        super().terminate_all()


def run(
    config: uvicorn.Config, *, sock: socket.socket | None = None, on_ready: Callable[[], None] | None = None
) -> None:
    """Serves until SIGINT or SIGTERM, then finishes the running requests and returns. Raises `ServerError`.

    Call it in the main thread. A caller who needs the port first gives `sock`, made by `bind`. `on_ready` is called
    when requests are answered.
    """
    if config.workers > 1 and not isinstance(config.app, str):
        raise ServerError("Several workers need the application as an import string, such as 'app.main:build'")
    _return_large_blocks()
    with sock or bind(config.host, config.port) as listener:
        config.port = listener.getsockname()[1]
        if config.workers > 1:
            failed = _supervise(config, listener, on_ready)
        else:
            failed = not _serve_here(config, listener, on_ready)
    if failed:
        raise ServerError("The service did not start: the log above says why")


def _return_large_blocks() -> None:
    """Makes the C library return a large block to the system as soon as it is free.

    A hash of a password takes one of 19 MiB. By itself glibc comes to keep one for each thread that hashes, for ever.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _supervise(config: uvicorn.Config, listener: socket.socket, on_ready: Callable[[], None] | None) -> bool:
    """Whether it failed."""
    assert isinstance(config, _Config)
    with contextlib.ExitStack() as stack:
        try:
            config.metrics = stack.enter_context(shared_metrics.folder())
        except OSError as error:
            mend = "mount /dev/shm, or name a folder that can be written in TMPDIR"
            raise ServerError(f"Several workers need a folder for their metrics: {mend} ({error.strerror})") from error
        _share(config)
        supervisor = _Supervisor(config, [listener])
        supervisor.on_ready = on_ready
        supervisor.run()
        return supervisor.failed


def _share(config: uvicorn.Config) -> None:
    """Imports the application, so that its workers share it. Their memory is copied page by page, as they write."""
    with contextlib.suppress(Exception):  # a worker says what is wrong, and how it was reached
        importlib.import_module(str(config.app).partition(":")[0])
    gc.collect()
    gc.freeze()


def _serve_here(config: uvicorn.Config, listener: socket.socket, on_ready: Callable[[], None] | None) -> bool:
    server = _Server(config)
    server.on_ready = on_ready
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn raises it if start-up failed
        return False
    return True
