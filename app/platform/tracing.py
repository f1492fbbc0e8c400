"""OpenTelemetry traces, off unless `TOKENVEND_OTLP_ENDPOINT` names a collector.

A span has a name of ours and a few attributes with closed sets of values: no path, body, header, address, token, user
or exception. A caller's `traceparent` is not read: whoever sends it would choose what is sampled.
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
        """Marks it as a fault; of what kind, log and metrics say."""


class Tracing(Protocol):
    def span(self, name: str, kind: Kind) -> AbstractContextManager[Span]: ...

    def close(self) -> None: ...


class NoTracing:
    """Costs a call, and builds nothing."""

    def __init__(self) -> None:
        self._span: AbstractContextManager[Span] = contextlib.nullcontext(self)

    def span(self, _name: str, _kind: Kind) -> AbstractContextManager[Span]:
        return self._span

    def set(self, attribute: Attribute, value: str | int) -> None: ...

    def fail(self) -> None: ...

    def close(self) -> None: ...


class OtlpTracing:
    """Spans by OTLP over HTTP. Sampling, headers and batches are OpenTelemetry's own variables (`OTEL_…`)."""

    def __init__(self, endpoint: str) -> None:
        """Connects to nothing yet. Raises `ModuleNotFoundError` where the extra `otel` is not installed."""
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        # Not the global one: what FastAPI or another library would add to it holds bodies and exceptions.
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
            record_exception=False,  # its message has parameters in it, and its frames have our files
            set_status_on_exception=False,
        ) as recorded:
            yield _Recorded(recorded, self._error)

    def close(self) -> None:
        """Sends what waits; a collector that does not answer is given up by the exporter's own timeout."""
        self._provider.shutdown()


class _Recorded:
    def __init__(self, recorded: Any, error: Any) -> None:
        self._recorded = recorded
        self._error = error

    def set(self, attribute: Attribute, value: str | int) -> None:
        self._recorded.set_attribute(attribute, value)

    def fail(self) -> None:
        self._recorded.set_status(self._error)
