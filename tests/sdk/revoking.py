"""An engine that knows revocation, as AWS does by the role's policy: it refuses keys with S3's `AccessDenied`."""

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.sdk.unreliable import Unreliable

DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
)


@dataclass
class Front:
    """Before the embedded engine."""

    url: str
    revoked: set[str] = field(default_factory=set)


@contextmanager
def revoking_front_of(engine_url: str) -> Iterator[Front]:
    """Ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            used = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
            if used and used[1] in front.revoked:
                return self.answer(403, {"Content-Type": "application/xml"}, DENIED)
            with closing(http.client.HTTPConnection(urlsplit(engine_url).netloc, timeout=10)) as engine:
                sent = {name: value for name, value in self.headers.items() if name not in ("Connection", "Expect")}
                engine.request(self.command, self.path, body=body, headers=sent)  # the host too, which is signed
                received = engine.getresponse()
                return self.answer(received.status, dict(received.getheaders()), received.read())

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    front = Front(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Revoking(Unreliable):
    """The way to a service whose engine is `front`: what was vended before a revocation is refused after it."""

    front: Front = field(default_factory=lambda: Front(""))
    vended: set[str] = field(default_factory=set)

    def spoil(self, path: str, status: int, answer: bytes) -> tuple[int, bytes] | None:
        if path == "/v1/credentials/revoke" and status == 202:
            self.front.revoked |= self.vended
        if path != "/v1/credentials" or status != 200:
            return status, answer
        vended = json.loads(answer)
        self.vended.add(vended["access_key_id"])
        return status, json.dumps(vended | {"endpoint_url": self.front.url}).encode()
