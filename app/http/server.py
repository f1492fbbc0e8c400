"""How the service is served: uvicorn with our protocol, in this process or in several, until it is told to stop.

SIGTERM drains first: for a few seconds `/readyz` says 503 while everything else is served as before, so that whoever
balances the load sends nothing here any more when connections are refused. Then what is under way is finished.
"""

import errno
import gc
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.http.protocol import Protocol

BACKLOG = 2048
"""After a deployment every app reconnects at once; the kernel caps it at somaxconn."""


class ServerError(Exception):
    """The server cannot be started as asked, or failed to; the message is a sentence for the operator."""


class _Config(uvicorn.Config):
    drain_seconds = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.draining = multiprocessing.get_context("spawn").Event()
        """Of this process and its workers."""

    def load(self) -> None:
        super().load()
        if (state := getattr(self.loaded_app, "state", None)) is not None:
            state.draining = self.draining
        # What start-up made stays: walking it again and again would take a fifth of each request's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        parent = multiprocessing.parent_process()
        if self.workers > 1 and parent is not None:  # a worker
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    """uvicorn's workers would outlive a supervisor that was killed, and keep its port."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def make_config(
    app: str | Callable[..., Any], *, host: str, port: int, workers: int = 1, factory: bool = False, drain: int = 0
) -> uvicorn.Config:
    """`drain` is for how many seconds SIGTERM is told to `/readyz` alone: `app.state.draining` is set then."""
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
        log_config=None,  # the application has set logging up
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application judges X-Forwarded-For: uvicorn would believe it from loopback
        # Longer than the 60 s after which an AWS load balancer drops an idle connection: if we were first, it
        # would now and then send a request into a closing socket and answer 502.
        timeout_keep_alive=75,
        # Kubernetes and ECS kill 30 s after SIGTERM: requests under way get all of that but what draining took and
        # the application needs to shut down. uvicorn's default waits for ever.
        timeout_graceful_shutdown=25 - drain,
        # None: uvicorn counts idle connections too, so a limit would turn a load balancer's pool away from an
        # idle server, and with a bare 503. Deadlines bound connections, the application's limiters bound work.
        limit_concurrency=None,
        backlog=BACKLOG,
    )
    config.drain_seconds = drain
    return config


def bind(host: str, port: int) -> socket.socket:
    """The listening socket; a port of 0 takes a free one. Raises `ServerError`."""
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
            mend = "stop what listens there or choose another with --port"
            raise ServerError(f"{where} is in use: {mend}") from error
        raise ServerError(f"{where} cannot be listened on: {error.strerror}") from error


class _Server(uvicorn.Server):
    on_ready: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.on_ready is not None and not self.should_exit:
            self.on_ready()

    leaves_at: float | None = None
    """When draining ends, once it began."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        assert isinstance(self.config, _Config)
        if sig == signal.SIGTERM and self.config.drain_seconds and self.leaves_at is None:
            self.config.draining.set()
            self.leaves_at = time.monotonic() + self.config.drain_seconds
            return
        super().handle_exit(sig, frame)
        # uvicorn raises what it records here again after the shutdown: the process would die of a signal that
        # it has obeyed, before its caller can close anything.
        self._captured_signals.clear()

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or (self.leaves_at is not None and time.monotonic() >= self.leaves_at)
        return await super().on_tick(counter)


class _Supervisor(Multiprocess):
    on_ready: Callable[[], None] | None = None
    ready = False
    failed = False
    drains = False

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
            # uvicorn would start a worker that cannot start again, twice a second, for ever.
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
            while time.monotonic() < leaves_at and not self.signal_queue:  # a second signal is not waited out
                time.sleep(0.1)
        # While one copy of the socket is open the kernel goes on accepting connections that nobody serves.
        for sock in self.sockets:
            sock.close()
        super().terminate_all()


def run(
    config: uvicorn.Config, *, sock: socket.socket | None = None, on_ready: Callable[[], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way and return. Raises `ServerError`.

    For the main thread. `sock` comes from `bind`, for a caller who wants to be sure of the port first;
    `on_ready` is called once requests are answered.
    """
    if config.workers > 1 and not isinstance(config.app, str):
        raise ServerError("Several workers need the application as an import string, such as 'app.main:build'")
    with sock or bind(config.host, config.port) as listener:
        config.port = listener.getsockname()[1]
        if config.workers > 1:
            supervisor = _Supervisor(config, [listener])
            supervisor.on_ready = on_ready
            supervisor.run()
            failed = supervisor.failed
        else:
            failed = not _serve_here(config, listener, on_ready)
    if failed:
        raise ServerError("The service did not start: the log above says why")


def _serve_here(config: uvicorn.Config, listener: socket.socket, on_ready: Callable[[], None] | None) -> bool:
    server = _Server(config)
    server.on_ready = on_ready
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn's way to say that start-up failed
        return False
    return True
