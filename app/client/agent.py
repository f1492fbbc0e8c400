"""A server on this machine's loopback that hands out credentials, as the container endpoint of the service does.

It is for programs that read no token file, or reach only the loopback. Whoever asks shows a bearer that only the shell
has for which it was started. No page can ask it under a name of its own (DNS rebinding): `Host` is checked.
"""

import contextlib
import hmac
import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from app.client.credentials import MIN_LEFT, complain
from app.client.service import Answer, ClientError, Service
from app.client.session import Session, SignedOut, Store

HOST = "127.0.0.1"
PATIENCE = 10.0
"""Seconds for a client to send its request, and to read the answer."""
MOST_WAITING = 64
"""Connections without the bearer so far. Another one closes the oldest: strangers can only be in each other's way."""


class Agent(NamedTuple):
    url: str
    bearer: str


@contextmanager
def serving(store: Store, *, port: int, access: str, path: str) -> Iterator[Agent]:
    """Serves until the end of the block. `port` 0: any that is free. Raises `OSError`."""
    bearer = secrets.token_urlsafe(32)
    asking = _Asking(store, access, path)
    server = _Server((HOST, port), _handler(bearer, asking.ask))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield Agent(f"http://{HOST}:{server.server_port}/credentials", bearer)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        asking.end()


class _Asking:
    """Asks the service by the stored session, while it is of the account that it was of at first.

    Its user is told once of each failure: most programs do not tell.
    """

    def __init__(self, store: Store, access: str, path: str) -> None:
        self._store = store
        self._account = store.get()
        self._renewing = threading.Lock()
        self._wish = {"access": access, "path": path}
        self._told = ""

    def ask(self) -> Answer:
        try:
            answer = self._ask()
        except SignedOut as failure:
            return self._fail(401, "signed_out", failure)
        except (ClientError, OSError) as failure:
            return self._fail(503, "unavailable", failure)
        self._told = ""
        return answer

    def end(self) -> None:
        """Waits for a renewal: the end of the process before it is kept would cost the session. None begins later."""
        self._renewing.acquire()

    def _fresh(self, refused: str | None = None) -> Session:
        with self._renewing:
            return self._store.fresh(min_left=MIN_LEFT, refused=refused, of=self._account)

    def _ask(self) -> Answer:
        session = self._fresh()
        answer = Service(session.url).container(session.tokens.access_token, self._wish)
        if answer.status == 401:  # this machine's clock is wrong, or the service changed its keys
            session = self._fresh(session.tokens.access_token)
            answer = Service(session.url).container(session.tokens.access_token, self._wish)
            if answer.status == 401:
                raise session.ended()
        return answer

    def _fail(self, status: int, code: str, failure: Exception) -> Answer:
        said = str(failure)
        if said != self._told:
            complain(said)
        self._told = said
        return Answer(status, "", json.dumps({"code": code, "message": said}).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._waiting: dict[socket.socket, None] = {}
        """Oldest first."""
        self._changing = threading.Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            self._waiting[request] = None
            oldest = next(iter(self._waiting)) if len(self._waiting) > MOST_WAITING else None
        if oldest is not None:
            self.admit(oldest)
            with contextlib.suppress(OSError):  # it has just gone
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def admit(self, request: socket.socket) -> None:
        """It waits no more: it has shown the bearer, or it ends."""
        with self._changing:
            self._waiting.pop(request, None)

    def shutdown_request(self, request: Any) -> None:
        self.admit(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: whoever connects and hangs up would write on the user's terminal."""


def _handler(bearer: str, ask: Callable[[], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version, sys_version = "tokenvend", ""

        def do_GET(self) -> None:
            assert isinstance(self.server, _Server)
            port = self.server.server_port
            hosts, bearers = self.headers.get_all("Host", []), self.headers.get_all("Authorization", [])
            if len(hosts) != 1 or hosts[0] not in (f"{HOST}:{port}", f"localhost:{port}"):
                self._answer(_refusal(403, "host_not_allowed"))
            elif len(bearers) != 1 or not hmac.compare_digest(bearers[0].encode(), bearer.encode()):
                self._answer(_refusal(401, "wrong_bearer"))
            elif self.path != "/credentials":
                self._answer(_refusal(404, "not_found"))
            else:
                self.server.admit(self.connection)
                self._answer(ask())

        def _answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.send_header("Cache-Control", "no-store")
            if answer.retry_after:
                self.send_header("Retry-After", answer.retry_after)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Says nothing: standard error is the user's shell."""

    return Handler


def _refusal(status: int, code: str) -> Answer:
    return Answer(status, "", json.dumps({"code": code, "message": "Ask as the environment says."}).encode())
