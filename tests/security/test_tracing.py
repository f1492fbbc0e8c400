"""Traces as a collector gets them: whole, and with nothing in them that somebody typed or holds (SECURITY 0.9)."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.service import Service

CANARY = "sparrow-4471 marble canary lantern"


class Collector:
    """Takes OTLP over HTTP, and keeps it as it came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    # One that is not compressed can be searched.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    running = Collector()
    yield running
    running.close()


def attributes(span: Span) -> dict[str, Any]:
    return {
        entry.key: entry.value.string_value or entry.value.int_value  # no other kinds are sent
        for entry in span.attributes
    }


class TestTraces:
    def test_join_request_database_and_sts(self, make_on_sqlite: Callable[..., Service], collector: Collector) -> None:
        service = make_on_sqlite(otlp_endpoint=collector.url)
        answer = service.device().vend()
        service.runtime.tracing.close()
        (vend,) = [s for s in collector.spans if attributes(s).get("http.route") == "/v1/credentials"]
        assert attributes(vend) == {
            "http.request.method": "POST",
            "http.route": "/v1/credentials",
            "http.response.status_code": 200,
            "tokenvend.request_id": answer.headers["X-Request-ID"],
        }
        # The flight that all callers share is begun by the first, and so is in its trace.
        inner = [s for s in collector.spans if s.trace_id == vend.trace_id and s.span_id != vend.span_id]
        assert {"sts", "database"} <= {s.name for s in inner}
        (call,) = [s for s in inner if attributes(s).get("tokenvend.sts.action") == "AssumeRole"]
        assert attributes(call)["cloud.region"] == "us-east-1"

    def test_hold_no_canary_wherever_it_is_sent(
        self, make_on_sqlite: Callable[..., Service], collector: Collector
    ) -> None:
        """OP1: bodies, addresses, tokens, paths, headers, STS's errors, exceptions with parameters."""
        service = make_on_sqlite(otlp_endpoint=collector.url)
        device = service.device("canary@example.org", CANARY)
        vended = device.vend().json()
        trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = {"traceparent": trace_parent, "baggage": "canary=1", "User-Agent": CANARY, "X-Request-ID": CANARY}
        service.log_in("canary@example.org", f"{CANARY} wrong")
        service.client.post("/v1/users", content=f'{{"email": "{CANARY}"', headers=headers)
        service.client.get(f"/v1/me/sessions/{CANARY}?token={device.access_token}", headers=headers)
        service.client.get("/canary", headers=headers)
        for _ in range(2):
            service.sts.answer_garbage(500, "text/plain", CANARY.encode())
        assert device.vend(path="canary/").status_code == 503
        service.sql("DROP TABLE audit_events")
        assert service.register("canary2@example.org", CANARY).status_code >= 500
        service.runtime.tracing.close()
        sent = b"".join(collector.bodies)
        assert len(collector.spans) > 10
        secrets = [device.access_token, device.refresh_token, device.user_id, *map(str, vended.values())]
        told = ("True", "False", "None", "3600", "read_write", "photos", "us-east-1", "[]", "1")
        for canary in ("canary", "sparrow", "example.org", "eyJ", *[s for s in secrets if s not in told and s]):
            assert canary.encode() not in sent, canary
        assert bytes.fromhex("0af7651916cd43dd8448eb211c80319c") not in {s.trace_id for s in collector.spans}
        assert not any(s.events for s in collector.spans)
        assert not any(s.status.message for s in collector.spans)

    def test_are_off_by_default(self, make_on_sqlite: Callable[..., Service], collector: Collector) -> None:
        service = make_on_sqlite()
        service.device().vend()
        service.runtime.tracing.close()
        assert not collector.bodies
