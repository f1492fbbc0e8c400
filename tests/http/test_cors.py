"""CORS: every answer that a page of an allowed origin gets is one that it may read."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from httpx2 import Response
from starlette.types import Receive, Scope, Send

from app.http.cors import Cors
from app.http.protocol import Protocol
from tests.http.test_protocol import HOST, Connect, Hasty, get, post, serving
from tests.support import tiny
from tests.support.service import Service

ORIGIN = "https://app.example.org"
STRANGER = "https://evil.example.org"

MONITORING = [
    *("traceparent", "tracestate", "baggage", "sentry-trace", "newrelic", "x-request-id", "x-correlation-id"),
    *("x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-origin", "x-datadog-sampling-priority"),
    *("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-amzn-trace-id", "x-cloud-trace-context"),
    *("uber-trace-id", "elastic-apm-traceparent", "request-id", "x-instana-t", "x-dynatrace"),
    *("cache-control", "pragma", "x-requested-with", "x-client-version", "idempotency-key"),
]


@pytest.fixture
def open_service(make_service: Callable[..., Service]) -> Service:
    return make_service(cors_origins=(ORIGIN, "https://other.example.org"), rate_limits="on")


def preflight(service: Service, *, origin: str = ORIGIN, method: str = "POST", headers: str | None = None) -> Response:
    fields = {"Origin": origin, "Access-Control-Request-Method": method}
    fields |= {"Access-Control-Request-Headers": headers} if headers is not None else {}
    return service.client.options("/v1/credentials", headers=fields)


def names(answer: Response) -> list[str]:
    return [name.strip() for name in answer.headers.get("access-control-allow-headers", "").split(",")]


class TestPreflight:
    @pytest.mark.parametrize("header", MONITORING)
    def test_lets_the_headers_of_monitoring_pass(self, header: str) -> None:
        """A page is not cut off by what its monitoring adds to each request."""
        asked = b"authorization,content-type,%s" % header.encode()
        scope = {"method": "OPTIONS", "headers": [*_fields(b"POST"), (b"access-control-request-headers", asked)]}
        answer = dict(Cors([ORIGIN]).answer_preflight(scope) or ())
        assert answer[b"access-control-allow-headers"] == asked.replace(b",", b", ")

    def test_is_answered_for_an_allowed_origin(self, open_service: Service) -> None:
        answer = preflight(open_service, headers="authorization, content-type,sentry-trace ,baggage")
        assert answer.status_code == 200
        assert answer.content == b""
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert names(answer) == ["authorization", "content-type", "sentry-trace", "baggage"]
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["x-request-id"]

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    def test_allows_the_methods_of_the_service(self, open_service: Service, method: str) -> None:
        answer = preflight(open_service, method=method)
        assert method in answer.headers["access-control-allow-methods"].split(", ")

    @pytest.mark.parametrize(
        ("asked", "allowed"),
        [("", [""]), ("a b,good", ["good"]), ("<script>,good", ["good"]), ("a:b", [""]), (",,good,,", ["good"])],
    )
    def test_repeats_nothing_that_is_no_name(self, open_service: Service, asked: str, allowed: list[str]) -> None:
        """HT4"""
        assert names(preflight(open_service, headers=asked)) == allowed

    def test_of_another_origin_is_refused_whatever_it_asks_for(self, open_service: Service) -> None:
        """HT6"""
        for origin in (STRANGER, "null", ORIGIN.upper(), f"{ORIGIN}, {ORIGIN}"):
            answer = preflight(open_service, origin=origin, headers="traceparent")
            assert (answer.status_code, answer.json()["code"]) == (400, "origin_not_allowed")
            assert not [name for name in answer.headers if name.startswith("access-control-")]

    def test_with_two_origins_is_refused(self, open_service: Service) -> None:
        """HT6"""
        fields = [("Origin", ORIGIN), ("Origin", STRANGER), ("Access-Control-Request-Method", "POST")]
        answer = open_service.client.options("/v1/credentials", headers=fields)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers

    def test_is_no_preflight_without_a_method_or_without_cors(self, open_service: Service, service: Service) -> None:
        assert open_service.client.options("/v1/me", headers={"Origin": ORIGIN}).status_code == 405
        assert preflight(service).status_code == 405


class TestAnswers:
    def test_of_every_kind_may_be_read(self, open_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """HT6: a page that may not read a refusal sees a network error, and cannot say what is wrong."""
        device = open_service.device()
        page = {"Origin": ORIGIN}
        client = open_service.client

        def chunks() -> Iterator[bytes]:
            yield from [b"a" * 40_000] * 3

        async def fail(_key: object) -> None:
            raise ZeroDivisionError

        answers = {
            200: client.get("/v1/me", headers=device.headers | page),
            401: client.get("/v1/me", headers=page),
            404: client.get("/nowhere", headers=page),
            405: client.put("/v1/me", headers=page),
            413: client.post("/v1/users", content=b"a" * 70_000, headers=page),
            415: client.post("/v1/users", content=b"a", headers=page),
            422: client.post("/v1/users", json={}, headers=page),
            400: client.get("/v1/me", headers=page | {"Host": "evil.example.org"}),
        }
        streamed = client.post("/v1/users", content=chunks(), headers=page)
        assert streamed.status_code == 413
        for _ in range(31):
            answers[429] = client.post("/v1/auth/guest", json={}, headers=page)
        open_service.sts.fail("Throttling", 400, times=2)
        answers[503] = client.post("/v1/credentials", json={}, headers=device.headers | page)
        monkeypatch.setattr(open_service.runtime.session_states, "get", fail)
        answers[500] = client.get("/v1/me", headers=device.headers | page)
        for status, answer in answers.items():
            assert answer.status_code == status
        for answer in [*answers.values(), streamed]:
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            exposed = answer.headers["access-control-expose-headers"].lower()
            assert {"x-request-id", "retry-after", "www-authenticate"} <= set(exposed.split(", "))
            assert "Origin" in answer.headers["vary"]

    def test_tell_caches_that_they_differ_by_origin(self, open_service: Service) -> None:
        """Or a page would get the answer that a cache kept for somebody without an Origin."""
        for headers in ({}, {"Origin": STRANGER}, {"Origin": ORIGIN}):
            answer = open_service.client.get("/.well-known/jwks.json", headers=headers)
            assert answer.headers["vary"] == "Origin"
            assert ("access-control-allow-origin" in answer.headers) is (headers.get("Origin") == ORIGIN)

    def test_without_cors_say_nothing_of_it(self, service: Service) -> None:
        """HT6"""
        answer = service.client.get("/healthz", headers={"Origin": ORIGIN})
        assert not {"vary", "access-control-allow-origin"} & set(answer.headers)


def _fields(method: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"origin", ORIGIN.encode()), (b"access-control-request-method", method)]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await tiny.app(scope, receive, send)


app.state = SimpleNamespace(draining=None, cors=Cors([ORIGIN]))  # type: ignore[attr-defined]
PAGE = f"Origin: {ORIGIN}".encode()


@pytest.fixture(scope="module")
def connect() -> Iterator[Connect]:
    with serving(Protocol, app=app) as connecting:
        yield connecting


class TestServer:
    """What the server refuses by itself, before the application sees it."""

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (get("/", PAGE, b"Transfer-Encoding: identity"), 400),
            (get("/" + "a" * 17_000, PAGE), 431),
            (get("/", PAGE, b"X: " + b"a" * 17_000), 431),
            (get("/", PAGE) + get("/", PAGE, b"X: " + b"a" * 17_000), 431),
            (get("/", PAGE, b"A: b", b"X y"), 400),
            (post("/", b"zz\r\n", PAGE).replace(b"Content-Length: 4", b"Transfer-Encoding: chunked"), 400),
        ],
        ids=["coding", "target", "field", "second", "syntax", "chunk"],
    )
    def test_refusals_may_be_read(self, connect: Connect, request_bytes: bytes, status: int) -> None:
        connection = connect()
        connection.send(request_bytes)
        answer = connection.answer()
        if answer.status == 200:  # to the request before
            answer = connection.answer()
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["vary"] == "Origin"

    def test_refusal_of_a_late_body_may_be_read(self) -> None:
        with serving(Hasty, app=app) as hasty:
            connection = hasty()
            connection.send(post("/", b"ab", PAGE, length=100))
            answer = connection.answer()
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (408, ORIGIN)

    @pytest.mark.parametrize(
        "request_bytes",
        [
            get("/", f"Origin: {STRANGER}".encode(), b"Transfer-Encoding: identity"),
            get("/", PAGE) + get("/", b"Transfer-Encoding: identity"),
            get("/", PAGE, f"Origin: {STRANGER}".encode(), b"Transfer-Encoding: identity"),
            b"nonsense\r\n" + HOST + PAGE + b"\r\n\r\n",
        ],
        ids=["stranger", "page before", "two", "nonsense"],
    )
    def test_refusals_of_others_may_not(self, connect: Connect, request_bytes: bytes) -> None:
        """HT6"""
        connection = connect()
        connection.send(request_bytes)
        answer = connection.answer()
        if answer.status == 200:
            answer = connection.answer()
        assert answer.status == 400
        assert "access-control-allow-origin" not in answer.headers
