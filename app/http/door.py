"""The rules that hold for every request: who may call, how big a body may be, what each answer carries, what is logged.

`edge.py` applies them to the application's answers, `shortcuts.py` to those that need no application.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from starlette.types import Scope

from app.http.cors import Cors
from app.http.forwarded import Client, find_client, make_reader, read_networks
from app.http.local import has_local_peer, is_local
from app.platform.clock import Clock
from app.platform.logs import log
from app.platform.metrics import Metrics, known_method
from app.platform.printable import cleaned
from app.platform.problems import ContentTooLarge, HostNotAllowed, LocalOnly
from app.platform.tracing import NoTracing, Span, Tracing

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
MOST_HOSTS = 100
"""Spellings of hosts that are remembered."""
API_CSP = b"default-src 'none'; frame-ancestors 'none'"

_HOST = re.compile(rb"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@]*))(?::[0-9]*)?")

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed on a shortcut, after work that its route would do again. The edge answers it."""

    error: Exception
    request_id: str
    came_at: float
    """Monotonic seconds."""
    path: str
    """Of its route: the template."""


class Door:
    def __init__(
        self,
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
        self.cors = cors
        self.clock = clock
        self.tracing = tracing or NoTracing()
        self._local_only = local_only
        self._local_paths = tuple(local_paths)
        self._hosts = hosts
        self._let_in: set[bytes] = set()
        """Host fields that were let in, as clients write them: with a port, without, in capitals."""
        self._read_client = make_reader(read_networks(trusted_proxies))
        self._told: set[str] = set()
        self._host_told_at = float("-inf")
        self._names_settings = names_settings
        self._metrics = metrics
        self._headers: Headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        if https:
            self._headers.append((b"strict-transport-security", b"max-age=63072000; includeSubDomains"))

    def check(self, scope: Scope) -> None:
        """Raises `LocalOnly`, `HostNotAllowed`, `ContentTooLarge`."""
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
        if scope["path"] not in ANY_HOST and not self._lets_in(host):
            self._tell_host(host)
            raise HostNotAllowed(f"{HostNotAllowed.default_detail} {HOST_MEND}" if self._names_settings else None)
        if length.isdigit() and int(length) > MAX_BODY and scope["path"] not in STREAMED:
            raise ContentTooLarge

    def admits(self, scope: Scope, host: bytes) -> bool:
        """Whether `check` has nothing against a short request for a path that any machine may ask for."""
        return self._lets_in(host) and (not self._local_only or has_local_peer(scope))

    def _lets_in(self, host: bytes) -> bool:
        if host in self._let_in:
            return True
        if _host_name(host) not in self._hosts:
            return False
        if len(self._let_in) < MOST_HOSTS:
            self._let_in.add(host)
        return True

    def _tell_host(self, host: bytes) -> None:
        """Says which host is not answered, at most once a minute: strangers send whatever they like."""
        now = self.clock.monotonic()
        if now - self._host_told_at >= SAID_EVERY:
            self._host_told_at = now
            log.warning("host_not_allowed", host=cleaned(host.decode("latin-1"), LONGEST_HOST), mend=HOST_MEND)

    def client(self, scope: Scope) -> Client:
        return find_client(scope, self._read_client)

    def tell(self, client: Client) -> None:
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

    def answer_headers(self, request_id: str, headers: Headers, request: Headers) -> Headers:
        """`headers` of the answer itself, and those that every answer to such a request carries."""
        answer = [*headers, *self._headers, *self.cors.headers_for(request), (b"x-request-id", request_id.encode())]
        names = [name for name, _ in answer]
        if b"content-security-policy" not in names:
            answer.append((b"content-security-policy", API_CSP))
        if b"cache-control" not in names:
            answer.append((b"cache-control", b"no-store"))
        return answer

    def observe(self, method: str, scope: Scope, status: int, started_at: float, span: Span) -> None:
        # The template, because callers can put anything into a path.
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        seconds = self.clock.monotonic() - started_at
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


def _is_under(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def _host_name(host: bytes) -> str:
    """The host of `host`, `host:port` or `[IPv6]:port`, in lower case; "" for other text, such as `host:80@evil`."""
    match = _HOST.fullmatch(host.lower())
    return (match[1] or match[2]).decode("latin-1") if match else ""
