"""OpenTelemetry traces, off unless `TOKENVEND_OTLP_ENDPOINT` names a collector.

A span has a fixed name and a few attributes, but no path, body, header, address, token, user or exception. A caller's
`traceparent` is ignored: callers would choose which requests are sampled.
"""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

Kind = Literal["server", "client", "internal"]
Attribute = Literal[
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "tokenvend.request_id",
    "tokenvend.sts.action",
    "tokenvend.sts.outcome",
    "cloud.region",
    "db.operation.name",
]


class Span(Protocol):
    def set(self, attribute: Attribute, value: str | int) -> None: ...

    def fail(self) -> None:
        """Marks the span as failed. Logs and metrics say why."""


class Tracing(Protocol):
    def span(self, name: str, kind: Kind) -> AbstractContextManager[Span]: ...

    def close(self) -> None: ...


class NoTracing:
    """Does nothing, and builds no object for a span."""

    def __init__(self) -> None:
        self._span: AbstractContextManager[Span] = contextlib.nullcontext(self)

    def span(self, _name: str, _kind: Kind) -> AbstractContextManager[Span]:
        return self._span

    def set(self, attribute: Attribute, value: str | int) -> None: ...

    def fail(self) -> None: ...

    def close(self) -> None: ...


class OtlpTracing:
    """Sends spans by OTLP over HTTP. OpenTelemetry's own variables (`OTEL_…`) set sampling, headers and batches."""

    def __init__(self, endpoint: str) -> None:
        """Does not connect yet. Raises `ModuleNotFoundError` if the extra `otel` is not installed."""
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        # Not the global provider: FastAPI or another library could add spans with bodies and exceptions to it.
        self._provider = TracerProvider(resource=Resource.create({"service.name": "tokenvend"}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
        self._tracer = self._provider.get_tracer("tokenvend")
        self._kinds = {kind.name.lower(): kind for kind in trace.SpanKind}
        self._error = trace.Status(trace.StatusCode.ERROR)

    @contextlib.contextmanager
    def span(self, name: str, kind: Kind) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            kind=self._kinds[kind],
            record_exception=False,  # its message may hold parameters, and its frames our file names
            set_status_on_exception=False,
        ) as recorded:
            yield _Recorded(recorded, self._error)

    def close(self) -> None:
        """Sends the waiting spans. The exporter's own timeout ends the wait for a collector that does not answer."""
        self._provider.shutdown()


class _Recorded:
    def __init__(self, recorded: Any, error: Any) -> None:
        self._recorded = recorded
        self._error = error

    def set(self, attribute: Attribute, value: str | int) -> None:
        self._recorded.set_attribute(attribute, value)

    def fail(self) -> None:
        self._recorded.set_status(self._error)
