"""A proxy between a client and the service that brings the end of credentials near: it shortens `Expiration`."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

EXPIRATIONS = ("Expiration", "expiration")
NOT_PASSED_ON = {"accept-encoding", "host"}


class Near:
    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.life: float | None = None
        """Seconds that each credential lives from now on, as far as its holder knows; None for its real life."""
        self.vends = 0
        """How many credentials were asked for and given."""
        self.url = ""

    def shorten(self, body: bytes) -> bytes:
        answer = json.loads(body)
        for name in EXPIRATIONS:
            if name in answer:
                self.vends += 1
                if self.life is not None:
                    end = datetime.now(UTC) + timedelta(seconds=self.life)
                    answer[name] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps(answer).encode()


@contextmanager
def near(upstream: str) -> Iterator[Near]:
    proxy = Near(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
            with closing(http.client.HTTPConnection(proxy.upstream, timeout=30)) as service:
                service.request(self.command, self.path, body, headers | {"Host": proxy.upstream})
                answer = service.getresponse()
                content = answer.read()
            if answer.status == 200 and "/v1/credentials" in self.path:
                content = proxy.shorten(content)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                    self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_OPTIONS = pass_on  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
