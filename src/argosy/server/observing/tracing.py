"""Traces for OpenTelemetry: a span for each sampled request, children for what it waits for.

The decision is made here, before OpenTelemetry hears of a request: who is not sampled
costs a look at a header and a random number. A `traceparent` (W3C Trace Context) is
continued and its sampled flag obeyed; `argosy.tracing` passes it on to upstream calls.
Spans leave by OTLP/HTTP from a thread; they are dropped when the collector is too slow.
"""

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import argosy
from argosy import tracing
from argosy.concurrency import between, in_thread
from argosy.errors import ConfigError
from argosy.server.http.messages import Request
from argosy.tracing import Value, current
from argosy.values import frozen

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OTSpan
    from opentelemetry.trace import Tracer as OTTracer

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_PATIENCE: Final = (
    3.0  # seconds with a collector, its retries too: the end of the server waits for it
)


@frozen(kw_only=True)
class TracingOptions:
    """Where spans go (`endpoint`: OTLP/HTTP), of which share of the requests that begin a trace."""

    endpoint: str
    sample: float = 1.0
    service: str = "argosy"


@frozen
class Parent:
    """The span that a caller says our work is a part of."""

    trace: str
    span: str
    sampled: bool

    @classmethod
    def read(cls, field: str | None) -> "Parent | None":
        """A `traceparent`; None if there is none, or one that means nothing."""
        found = _PARENT.fullmatch(field.strip()) if field else None
        if found is None:
            return None
        version, trace, span, flags, more = found.groups()
        zeros = trace == "0" * 32 or span == "0" * 16
        if zeros or version == "ff" or (version == "00" and more):
            return None
        return cls(trace, span, sampled=bool(int(flags, 16) & _SAMPLED))


class _Span:
    """A recording span, as the other layers know it."""

    def __init__(self, tracer: "OTTracer", span: "OTSpan") -> None:
        self._tracer = tracer
        self.span = span

    @property
    def traceparent(self) -> str:
        """The field for an upstream call."""
        context = self.span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    @contextmanager
    def child(self, name: str, attributes: dict[str, Value]) -> Iterator[tracing.Span]:
        """A part of it; what is raised inside is written down."""
        from opentelemetry import trace  # noqa: PLC0415 - only who traces has it

        inner = self._tracer.start_span(
            name,
            trace.set_span_in_context(self.span),
            trace.SpanKind.CLIENT,
            attributes=attributes,
        )
        made = _Span(self._tracer, inner)
        before = current.set(made)
        try:
            yield made
        except BaseException as e:
            inner.set_status(trace.StatusCode.ERROR, type(e).__name__)
            raise
        finally:
            current.reset(before)
            inner.end()

    def set(self, key: str, value: Value) -> None:
        """Say something about it."""
        self.span.set_attribute(key, value)


class Tracing:
    """Begins and ends the spans of requests (an Observer's Tracer)."""

    def __init__(self, tracer: "OTTracer", sample: float) -> None:
        self._tracer = tracer
        self._sample = sample

    def begin(self, request: Request) -> None:
        """Before anything is done for a request."""
        parent = Parent.read(request.headers.get("traceparent"))
        if parent is None:
            sampled = between(0, 1) < self._sample
        else:
            sampled = parent.sampled
            request.trace = parent.trace
        if not sampled:
            current.set(None)
            return
        span = self._tracer.start_span(
            request.method, _remote(parent), _server_kind(), attributes=_asked(request)
        )
        request.trace = f"{span.get_span_context().trace_id:032x}"
        request.span = _Span(self._tracer, span)
        current.set(request.span)

    def end(self, request: Request, status: int, sent: int) -> None:
        """After the last byte of its answer."""
        if not isinstance(request.span, _Span):
            return
        span = request.span.span
        span.update_name(f"{request.method} {request.route or 'nowhere'}")
        span.set_attributes(_answered(request, status, sent))
        if status >= 500:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415

            span.set_status(StatusCode.ERROR)
        span.end()
        request.span = None


def _asked(request: Request) -> dict[str, Value]:
    return {
        "http.request.method": request.method,
        "url.path": request.path[:500],
        "url.scheme": request.scheme,
        "client.address": request.address,
        "user_agent.original": (request.headers.get("user-agent") or "")[:200],
        "argosy.request": request.id,
    }


def _answered(request: Request, status: int, sent: int) -> dict[str, Value]:
    found: dict[str, Value] = {
        "http.response.status_code": status,
        "http.response.body.size": sent,
        "http.request.body.size": request.body.received,
        "http.route": request.route,
    }
    if request.repository:
        found["argosy.repository"] = request.repository[:255]
    if name := getattr(request.principal, "name", ""):
        found["argosy.principal"] = name
    return found


def _server_kind() -> Any:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - only who traces has it

    return SpanKind.SERVER


def _remote(parent: Parent | None) -> Any:
    """The context of a span whose parent is somewhere else; an empty one: it begins a trace."""
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.context import Context  # noqa: PLC0415

    if parent is None:
        return Context()
    context = trace.SpanContext(
        trace_id=int(parent.trace, 16),
        span_id=int(parent.span, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())


@asynccontextmanager
async def tracing_to(options: TracingOptions) -> AsyncIterator[Tracing | None]:
    """Traces as the options say until the end, when what waits is sent; None without an endpoint."""
    if not options.endpoint:
        yield None
        return
    provider = await in_thread(_provider, options)
    try:
        yield Tracing(provider.get_tracer("argosy", argosy.__version__), options.sample)
    finally:
        await in_thread(provider.shutdown)


def _provider(options: TracingOptions) -> "TracerProvider":
    url = traces_url(options.endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - 0.2 s
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415
    except ImportError as e:
        raise ConfigError(
            "tracing.endpoint is set, but OpenTelemetry is not installed",
            why=str(e),
            remedy="pip install 'argosy[telemetry]', or leave tracing.endpoint empty",
        ) from e
    about = {
        "service.name": options.service,
        "service.version": argosy.__version__,
        "host.name": socket.gethostname(),
    }
    provider = TracerProvider(
        resource=Resource.create(about), sampler=ALWAYS_ON, shutdown_on_exit=False
    )
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=_PATIENCE))
    )
    return provider


def traces_url(endpoint: str) -> str:
    """Where traces go: below the address of a collector, or a whole URL as it is; ConfigError."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"tracing.endpoint: {endpoint!r} is no http or https address",
            remedy="write the collector's OTLP/HTTP address, as http://127.0.0.1:4318",
        )
    return endpoint if parts.path not in ("", "/") else f"{endpoint.rstrip('/')}/v1/traces"
