"""A reverse proxy on loopback that passes requests on, one a connection, and may add a header to each."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def relay(upstream: int, *fields: bytes, version: bytes = b"HTTP/1.1") -> Iterator[int]:
    """Its port. `fields` are whole header lines, without their end."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, target, _ = self.rfile.readline().split()
            lines = [b"%s %s %s" % (method, target, version), *fields]
            while (line := self.rfile.readline().strip()) != b"":
                if not line.lower().startswith(b"connection:"):
                    lines.append(line)
            with socket.create_connection(("127.0.0.1", upstream), timeout=30) as service:
                service.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
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
