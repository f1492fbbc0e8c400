"""A way to the service on which things go wrong that a client has to survive, each once."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SHORT = 100
"""Seconds left to keys that are about to expire."""
SKEW = timedelta(days=1)


@dataclass
class Unreliable:
    """The first answer to a refresh never comes, the second is a gateway's.

    Keys vended first are wrong, then about to expire, then good. From the fourth vend on the service's
    clock is a day behind.
    """

    url: str
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def sent(self, method: str, path: str) -> list[Any]:
        """The bodies of such requests."""
        return [body for *place, body in self.requests if place == [method, path]]

    def spoil(self, path: str, status: int, answer: bytes) -> tuple[int, bytes] | None:
        """Status and body that the client gets instead; None if nothing."""
        count = len(self.sent("POST", path))
        if path == "/v1/auth/refresh" and count == 1:
            return None
        if path == "/v1/auth/refresh" and count == 2:
            return 502, b"<html>Bad Gateway</html>"
        if path != "/v1/credentials" or b"access_key_id" not in answer:
            return status, answer
        vended = json.loads(answer)
        if count == 1:
            vended["access_key_id"] = "WRONG" + vended["access_key_id"][5:]
        elif count == 2:
            vended["expires_in"] = SHORT
            vended["expiration"] = later(vended["server_time"], timedelta(seconds=SHORT))
        elif count > 3:
            vended |= {name: later(vended[name], -SKEW) for name in ("server_time", "expiration")}
        return status, json.dumps(vended).encode()


def later(moment: str, by: timedelta) -> str:
    return (datetime.fromisoformat(moment) + by).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def unreliable_way_to(service_url: str, kind: type[Unreliable] = Unreliable) -> Iterator[Unreliable]:
    """Ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with way.lock:
                way.requests.append((self.command, self.path, json.loads(body) if body else None))
                answer, content = self.forward(body)
                spoilt = way.spoil(self.path, answer.status, content)
            if spoilt is None:
                way.over.wait()
                self.close_connection = True
                return
            status, content = spoilt
            self.send_response(status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
            connection = http.client.HTTPConnection(urlsplit(service_url).netloc, timeout=10)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
            }
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer, content

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    way = kind(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield way
    finally:
        way.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
