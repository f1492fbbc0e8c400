"""The outermost ASGI layer: request id, client address, Host, CORS, body size, security headers, log, exceptions.

It is pure ASGI, because with a `BaseHTTPMiddleware` a core answers less than half as many requests a second.
"""

import json
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.cors import METHODS, Cors
from app.http.forwarded import Client, find_client, read_networks
from app.http.local import has_local_peer, is_local
from app.platform.clock import Clock
from app.platform.logs import request_id as current_request_id
from app.platform.metrics import Metrics, known_method
from app.platform.printable import cleaned
from app.platform.problems import ContentTooLarge, HostNotAllowed, InternalError, LocalOnly, Problem
from app.platform.tracing import NoTracing, Span, Tracing

log = structlog.get_logger("tokenvend.http")

MAX_BODY = 65_536
STREAMED = frozenset({"/v1/admin/user-imports"})
"""Paths whose routes lift the cap on the body with `lift_cap` after they have authenticated the caller."""
SERVER = "*"
"""The path of `OPTIONS *`, which asks the server and no address on it (RFC 9110 §9.3.7)."""
ANY_HOST = frozenset({"/healthz", "/readyz", "/metrics", SERVER})
"""Paths that any Host may ask for: load balancers and Prometheus use IP addresses. `/metrics` needs its token."""
QUIET = frozenset({"/healthz", "/readyz"})
"""Paths whose requests are neither logged nor counted."""
HOST_MEND = "It answers for the hosts of TOKENVEND_ALLOWED_HOSTS or, without them, for that of TOKENVEND_PUBLIC_URL."
SAID_EVERY = 60.0
"""Seconds between two warnings of a host that is not answered."""
LONGEST_HOST = 255
API_CSP = b"default-src 'none'; frame-ancestors 'none'"

_HOST = re.compile(rb"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@]*))(?::[0-9]*)?")

Headers = list[tuple[bytes, bytes]]


class Edge:
    """Wraps the application. Whatever fails inside, the client gets an answer with a request id."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        trusted_proxies: Iterable[str],
        cors: Cors,
        https: bool,
        clock: Clock,
        metrics: Metrics,
        tracing: Tracing | None = None,
        local_only: bool = False,
        local_paths: Iterable[str] = (),
        names_settings: bool = False,
    ) -> None:
        """`local_only` refuses callers from other machines, whichever server runs the application.

        `local_paths`, and what is below them, answer nobody but a person or program on this machine.
        `names_settings`: an answer says which setting lets a host in, as the log does anyway.
        """
        self._app = app
        self._local_only = local_only
        self._local_paths = tuple(local_paths)
        self._hosts = hosts
        self._trusted = read_networks(trusted_proxies)
        self._told: set[str] = set()
        self._host_told_at = float("-inf")
        self._names_settings = names_settings
        self._cors = cors
        self._clock = clock
        self._metrics = metrics
        self._tracing = tracing or NoTracing()
        self._headers: Headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        if https:
            self._headers.append((b"strict-transport-security", b"max-age=63072000; includeSubDomains"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracing.span("request", "server") as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        started_at = self._clock.monotonic()
        request_id = secrets.token_hex(16)
        current_request_id.set(request_id)
        state = scope["state"]
        state["request_id"] = request_id
        client = find_client(scope, self._trusted)
        state["address"] = client.address
        if client.fault is not None and scope["path"] not in ANY_HOST:
            self._tell(client)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._answer_headers(request_id, message["headers"], scope["headers"])
            await send(message)

        # RFC 9110 §9.3.2: HEAD is GET without the body, which the server leaves out. It knows HEAD from its own scope.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            self._check(scope)
            headers = self._answer_here(scope)
            if headers is None:
                await self._app(asked, _capped(receive, state), send_with_headers)
            else:
                await _send_empty(headers, send_with_headers)
        except ClientDisconnect:
            log.info("client_disconnected")
        except Exception as error:
            problem = error if isinstance(error, Problem) else InternalError()
            if not isinstance(error, Problem):
                log.error("unhandled_exception", exc_info=error)
            if status:  # the answer has begun: only a broken connection shows that it is incomplete
                raise
            await send_problem(problem, request_id, send_with_headers)
        finally:
            if scope["path"] not in QUIET:
                self._observe(scope["method"], asked, status, started_at, span)

    def _answer_here(self, scope: Scope) -> Headers | None:
        """The headers of an answer that needs no application; None if this is not for the edge to answer."""
        headers = self._cors.answer_preflight(scope)
        return [(b"allow", METHODS)] if headers is None and scope["path"] == SERVER else headers

    def _check(self, scope: Scope) -> None:
        if self._local_only and not has_local_peer(scope):
            raise LocalOnly
        if self._local_paths and _is_under(scope["path"], self._local_paths) and not is_local(scope):
            raise LocalOnly
        host = length = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"content-length":
                length = value
        if scope["path"] not in ANY_HOST and _host_name(host) not in self._hosts:
            self._tell_host(host)
            raise HostNotAllowed(f"{HostNotAllowed.default_detail} {HOST_MEND}" if self._names_settings else None)
        if length.isdigit() and int(length) > MAX_BODY and scope["path"] not in STREAMED:
            raise ContentTooLarge

    def _tell_host(self, host: bytes) -> None:
        """Says which host is not answered, at most once a minute: strangers send whatever they like."""
        now = self._clock.monotonic()
        if now - self._host_told_at >= SAID_EVERY:
            self._host_told_at = now
            log.warning("host_not_allowed", host=cleaned(host.decode("latin-1"), LONGEST_HOST), mend=HOST_MEND)

    def _tell(self, client: Client) -> None:
        """Counts a client who cannot be told apart from others, and says how to mend that, once for each fault."""
        assert client.fault is not None
        self._metrics.client_addresses_unread.labels(client.fault).inc()
        if client.fault not in self._told:
            self._told.add(client.fault)
            log.warning(
                "client_address_unread",
                fault=client.fault,
                proxy=client.address,
                mend="Let this proxy end X-Forwarded-For with the client's address, such as 203.0.113.7 or "
                "[2001:db8::7]:51008. Until then all clients behind it share one client's limits. If it is no proxy, "
                "take its address out of TOKENVEND_TRUSTED_PROXIES.",
            )

    def _answer_headers(self, request_id: str, headers: Headers, request: Headers) -> Headers:
        answer = [*headers, *self._headers, *self._cors.headers_for(request), (b"x-request-id", request_id.encode())]
        names = [name for name, _ in answer]
        if b"content-security-policy" not in names:
            answer.append((b"content-security-policy", API_CSP))
        if b"cache-control" not in names:
            answer.append((b"cache-control", b"no-store"))
        return answer

    def _observe(self, method: str, scope: Scope, status: int, started_at: float, span: Span) -> None:
        # The template, because callers can put anything into a path.
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        seconds = self._clock.monotonic() - started_at
        self._metrics.count_request(method, route, status, seconds)
        span.set("http.request.method", known_method(method))
        span.set("http.route", route)
        span.set("http.response.status_code", status)
        span.set("tokenvend.request_id", scope["state"]["request_id"])
        if status >= 500:
            span.fail()
        log.info(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            address=scope["state"]["address"],
        )


def lift_cap(scope: Scope, most: int) -> None:
    """Lets this request's body have up to `most` bytes. Raises `ContentTooLarge` if Content-Length says more."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise ContentTooLarge
    scope["state"]["most_body"] = most


def _capped(receive: Receive, state: dict[str, Any]) -> Receive:
    """`receive` that raises `ContentTooLarge` after too many bytes, whatever Content-Length says."""
    total = 0

    async def capped() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MAX_BODY and total > state.get("most_body", MAX_BODY):
            raise ContentTooLarge
        return message

    return capped


def _is_under(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def _host_name(host: bytes) -> str:
    """The host of `host`, `host:port` or `[IPv6]:port`, in lower case; "" for other text, such as `host:80@evil`."""
    match = _HOST.fullmatch(host.lower())
    return (match[1] or match[2]).decode("latin-1") if match else ""


async def _send_empty(headers: Headers, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def problem_document(problem: Problem, request_id: str) -> dict[str, Any]:
    """A document of RFC 9457, with this API's `code`, `request_id` and, for a 422, `errors`."""
    document: dict[str, Any] = {
        "type": f"urn:tokenvend:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.status == 422:
        document["errors"] = [
            {"location": error.location, "code": error.code, "message": error.message} for error in problem.errors
        ]
    return document


async def send_problem(problem: Problem, request_id: str, send: Send, extra: Mapping[str, str] | None = None) -> None:
    body = json.dumps(problem_document(problem, request_id)).encode()
    headers: Headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in (extra or {}).items()]
    if problem.challenge is not None:
        error = f', error="{problem.challenge}"' if problem.challenge else ""
        headers.append((b"www-authenticate", f'Bearer realm="tokenvend"{error}'.encode()))
    if problem.status in (429, 503):
        headers.append((b"retry-after", str(problem.retry_after or 1).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
