"""Lets other machines reach the engine, which itself listens on loopback alone: on one more port, of S3 and STS."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

from app.engine import config
from app.engine.errors import EngineError

PIECE = 65_536


@contextlib.contextmanager
def forwarded(host: str, port: int, to: int) -> Iterator[None]:
    """Passes connections to `host` and `port` on to the loopback's port `to`. Raises `EngineError`."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), socket.create_connection((config.HOST, to)) as engine:
                back = threading.Thread(target=_copy, args=(engine, self.request), daemon=True)
                back.start()
                _copy(self.request, engine)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...  # a client that went away

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise EngineError(f"Port {port} on {host} cannot be listened on for the engine: {error.strerror}.") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until the source sends no more. The target is then told so."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
