"""Servers that are no STS: one that answers every request with given bytes, or never, and one that nobody reaches."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OddServer:
    """`answer` is sent as it is, and the connection closed. None is never sent: the connection stays open."""

    def __init__(self, answer: bytes | None) -> None:
        self.requests = 0
        self._over = threading.Event()
        odd = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                length = 0
                while (line := self.rfile.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                    elif name.lower() == b"expect" and answer is not None:
                        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.rfile.read(length)
                odd.requests += 1
                if answer is None:
                    odd._over.wait(10)
                else:
                    self.wfile.write(answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # whoever has asked reads no further

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def http(
    status: str, body: bytes, content_type: str = "text/xml", *, length: int | None = None, headers: str = ""
) -> bytes:
    """An answer; a `length` that is not the body's is a lie."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n{headers}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@contextmanager
def unreachable() -> Iterator[str]:
    """The address of somebody who takes no connection and refuses none, as behind a firewall."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(4):  # of which the kernel completes as many as fit
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for client in waiting:
                client.close()
