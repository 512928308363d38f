"""OpenTelemetry traces, when OTEL_EXPORTER_OTLP_ENDPOINT is set: one span a request, one below it a stage.

The only module that imports OpenTelemetry, and only if an endpoint is set. Spans carry the route's template, the status and the
request id; never addresses, keys or bodies.
"""

import re
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_SERVICE = "scorer"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf](-.*)?")
"""A traceparent with the sampled flag (W3C Trace Context, section 3.2)."""


class Span(Protocol):
    """The span of one request."""

    def set_attribute(self, key: str, value: str | int) -> None:
        """Add an attribute."""
        ...


class Tracing(Protocol):
    """Creates and exports spans."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[Span | None]:
        """Open the span of one request, as a child of the client's span if `traceparent` names one."""
        ...

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Open the span of one stage of the current request."""
        ...

    def close(self) -> None:
        """Export the remaining spans."""
        ...


class NoTracing:
    """Null object while tracing is off."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[Span | None]:  # noqa: ARG002 (the Protocol's)
        """See `Tracing`."""
        return nullcontext()

    def stage(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002 (the Protocol's)
        """See `Tracing`."""
        return nullcontext()

    def close(self) -> None:
        """See `Tracing`."""


class OtelTracing:
    """Spans that the exporter sends in batches from its own thread.

    Args:
        provider: see `tracing_to`.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Generator[Span | None, None, None]:
        """See `Tracing`."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        named = ("traceparent", "tracestate")
        carrier = {name: headers[name] for name in named if name in headers}
        parent = TraceContextTextMapPropagator().extract(carrier)
        with self._tracer.start_as_current_span("request", context=parent, kind=SpanKind.SERVER) as span:
            yield span

    def stage(self, name: str) -> AbstractContextManager[object]:
        """See `Tracing`."""
        return self._tracer.start_as_current_span(name)

    def close(self) -> None:
        """See `Tracing`."""
        self._provider.shutdown()


def sampled_trace_id(headers: Mapping[str, str]) -> str:
    """Return the trace id of the request's `traceparent` if the caller has sampled it, else ""."""
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return match[1] if match is not None else ""


def exporting(endpoint: str) -> Tracing:
    """Export traces to an OTLP collector over HTTP; without an endpoint, to none."""
    if not endpoint:
        return NoTracing()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return tracing_to(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces"))


def tracing_to(exporter: "SpanExporter") -> OtelTracing:
    """Export traces through any exporter."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 (see the module's docstring)
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelTracing(provider)
