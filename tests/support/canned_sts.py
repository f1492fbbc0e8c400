"""A small HTTP server that answers as AWS's STS does, and keeps every form sent.

It enforces nothing: what a credential may do is never shown with it.
"""

import contextlib
import itertools
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from app.platform.clock import Clock, SystemClock

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
Answer = tuple[int, str, bytes]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    """As many as connect at once: of five, the others would wait for a second."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Ends the connections that clients keep."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes


class CannedSts:
    """`forms` has what was sent, oldest first; `requests` how. `fail` queues refusals for the next calls."""

    def __init__(self, clock: Clock | None = None, *, port: int = 0) -> None:
        self.forms: list[dict[str, str]] = []
        self.requests: list[Request] = []
        self.caller_arn = "arn:aws:sts::123456789012:assumed-role/service/i-1"
        self.longest = 43_200
        """The role's MaxSessionDuration."""
        self.before_answer: Callable[[dict[str, str]], None] = lambda form: None
        self._clock = clock or SystemClock()
        self._failures: deque[Answer] = deque()
        self._only: str | None = None
        self._serial = itertools.count(1)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()

    @property
    def assumed(self) -> list[dict[str, str]]:
        return [form for form in self.forms if form["Action"] == "AssumeRole"]

    def fail(self, code: str, status: int = 400, *, times: int = 1) -> None:
        self._failures.extend([self._refusal(code, status)] * times)

    def answer_only(self, action: str) -> None:
        """Every other action is denied from now on, as by a trust policy."""
        self._only = action

    def answer_garbage(self, status: int, content_type: str, body: bytes) -> None:
        self._failures.append((status, content_type, body))

    @staticmethod
    def _refusal(code: str, status: int) -> Answer:
        body = (
            f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
            f"<Message>no</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        )
        return status, "text/xml", body.encode()

    def _answer(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        with self._lock:
            self.forms.append(form)
            self.requests.append(request)
            serial = next(self._serial)
            failure = self._failures.popleft() if self._failures else None
            if self._only not in (None, form["Action"]):
                failure = self._refusal("AccessDenied", 403)
            if form["Action"].startswith("AssumeRole") and int(form.get("DurationSeconds", 0)) > self.longest:
                failure = self._refusal("ValidationError", 400)
        self.before_answer(form)
        if failure is None:
            failure = self._judge(form)
        if failure is not None:
            return failure
        if form["Action"] == "GetCallerIdentity":
            result = f"<Arn>{self.caller_arn}</Arn><UserId>AROA1:i-1</UserId><Account>123456789012</Account>"
        elif form["Action"] == "GetAccessKeyInfo":
            result = "<Account>123456789012</Account>"
        elif form["Action"] == "DecodeAuthorizationMessage":
            result = "<DecodedMessage>{&quot;allowed&quot;:false}</DecodedMessage>"
        else:
            result = self._credentials(form, serial)
        action = form["Action"]
        body = (
            f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result>'
            f"<ResponseMetadata><RequestId>request-{serial}</RequestId></ResponseMetadata></{action}Response>"
        )
        return 200, "text/xml", body.encode()

    def _judge(self, form: dict[str, str]) -> Answer | None:
        """The refusal of a call that this STS does not believe. It believes all."""

    def _credentials(self, form: dict[str, str], serial: int) -> str:
        expiration = self._clock.now() + timedelta(seconds=int(form.get("DurationSeconds", 3600)))
        return (
            f"<Credentials><AccessKeyId>ASIACANNED{serial:010d}</AccessKeyId>"
            f"<SecretAccessKey>canned-secret-key-{serial}</SecretAccessKey>"
            f"<SessionToken>canned-session-token-{serial}</SessionToken>"
            f"<Expiration>{expiration.strftime('%Y-%m-%dT%H:%M:%SZ')}</Expiration></Credentials>"
            f"{self._of_the_session(form)}"
        )

    @staticmethod
    def _of_the_session(form: dict[str, str]) -> str:
        if form["Action"] == "GetSessionToken":
            return ""
        name = form.get("RoleSessionName") or form.get("Name") or "by-assertion"
        if form["Action"] == "GetFederationToken":
            arn = f"arn:aws:sts::123456789012:federated-user/{name}"
            user = f"<FederatedUser><FederatedUserId>1:{name}</FederatedUserId><Arn>{arn}</Arn></FederatedUser>"
        else:
            user = (
                f"<AssumedRoleUser><Arn>{form['RoleArn']}/{name}</Arn>"
                f"<AssumedRoleId>AROA:{name}</AssumedRoleId></AssumedRoleUser>"
            )
        return f"{user}<PackedPolicySize>6</PackedPolicySize>"

    def _handler(canned: "CannedSts") -> Any:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, content_type, answer = canned._answer(Request(self.path, headers, body))
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(timestamp or canned._clock.now().timestamp())

            def log_message(self, *_args: Any) -> None:
                pass

        return Handler
