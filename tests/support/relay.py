"""A reverse proxy on loopback that passes requests on, one a connection, and may add a header to each.

It may serve one path alone, as where several services share a host, and cut it off or leave it.
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NOT_HERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Address:
    """A port on loopback that passes every byte on. Connections that are open stay where they are."""

    def __init__(self, leads_to: str | int) -> None:
        self.leads_to = leads_to
        """The path of a UNIX socket, or a port on loopback: for the next connections."""
        address = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with address._connect() as there:
                    back = threading.Thread(target=_pass_on, args=(there, self.request), daemon=True)
                    back.start()
                    _pass_on(self.request, there)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _connect(self) -> socket.socket:
        if isinstance(self.leads_to, int):
            return socket.create_connection(("127.0.0.1", self.leads_to))
        there = socket.socket(socket.AF_UNIX)
        there.connect(self.leads_to)
        return there


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := here.recv(65_536):
            there.sendall(piece)
    with contextlib.suppress(OSError):
        there.shutdown(socket.SHUT_WR)


@contextmanager
def relay(
    upstream: int, *fields: bytes, version: bytes = b"HTTP/1.1", path: bytes = b"", strips: bool = False
) -> Iterator[int]:
    """Its port. `fields` are whole header lines, without their end."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, target, _ = (self.rfile.readline() or b"GET / -").split()
            lines, length = list(fields), 0
            while (line := self.rfile.readline().strip()) != b"":
                name, _, value = line.lower().partition(b":")
                if name == b"content-length":
                    length = int(value)
                if name != b"connection":
                    lines.append(line)
            body = self.rfile.read(length)
            if path and not target.startswith(path + b"/"):
                self.wfile.write(NOT_HERE)
                return
            if strips:
                target = target.removeprefix(path)
            head = [b"%s %s %s" % (method, target, version), *lines, b"Connection: close", b"", b""]
            with socket.create_connection(("127.0.0.1", upstream), timeout=30) as service:
                service.sendall(b"\r\n".join(head) + body)
                while piece := service.recv(65_536):
                    self.wfile.write(piece)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
