"""Spans of OpenTelemetry, light: one for each request, and one for each block that asks for it.

Extra: ``pip install backstay[opentelemetry]``. Tested with opentelemetry-api and -sdk 1.45.

    provider = write_spans(Path("spans.jsonl"), service="orders")   # or the SDK as it is configured already
    app = traced(guard(app))

    with span("reserve", {"sku": sku}):
        ...

What it adds to the instrumentations that the project ships: a fraction of their cost, since a request
gets one span and not one for each message; and one identity. The trace that is recorded is the one
that logs, tasks, findings and outgoing calls of Backstay name, and the span that is current is the parent
of what the callee records.

Without an SDK nothing is recorded, and all of this costs next to nothing.

Calls of gRPC, commands of Redis, statements of SQL and messages have modules of their own beside this one:
`opentelemetry_grpc`, `opentelemetry_redis`, `opentelemetry_asyncpg`, `opentelemetry_sqlalchemy` and
`opentelemetry_messages`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from backstay.context import TRACE_HEADER
from backstay.integrations._spans import (
    Attributes,
    CurrentSpan,
    below,
    default_tracer,
    remote,
    traceparent_of,
)
from backstay.tasks import Scope

__all__ = ["span", "traced", "traced_scope", "write_spans"]

App = Callable[..., Awaitable[None]]
Kind = Literal["internal", "client", "server", "producer", "consumer"]

_HEADER = TRACE_HEADER.encode()
_SERVER_ERROR = 500


def traced(app: App, *, tracer: trace.Tracer | None = None) -> App:
    """Give each HTTP request that `app` serves one span of kind "server".

    Args:
        app: the ASGI application; put it around the guard, so that the guard takes the same trace.
        tracer: of OpenTelemetry; that of the global provider when omitted.

    Returns:
        An ASGI application. Lifespan and websockets pass through.

    The span is named by method and route, as far as the framework tells it; an unhandled error, a cancel and
    a status of 500 and above are errors.

    Cost: some 110 microseconds where an SDK records, a third of what the contrib instrumentation takes
    (benchmarks/tracing.py); one or two where none does.
    """
    tracer = tracer or default_tracer()

    async def serve(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        parent = _parent_of(scope.get("headers", ()))
        method = str(scope.get("method", ""))
        record = tracer.start_span(method, context=parent, kind=SpanKind.SERVER)
        if not record.get_span_context().is_valid:  # no SDK, and nobody who calls has one
            await app(scope, receive, send)
            return
        await _serve(app, _handing_on(scope, record), receive, send, record)

    return serve


async def _serve(
    app: App, scope: MutableMapping[str, Any], receive: Any, send: Any, record: trace.Span
) -> None:
    status = 0
    recording = record.is_recording()

    async def note(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    with CurrentSpan(record):
        await app(scope, receive, note if recording else send)
        if recording:
            _describe(record, scope, status)


def _describe(record: trace.Span, scope: Mapping[str, Any], status: int) -> None:
    method = str(scope.get("method", ""))
    route = getattr(scope.get("route"), "path", None)
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "url.path": str(scope.get("path", "")),
    }
    if status:
        attributes["http.response.status_code"] = status
    if route is not None:
        attributes["http.route"] = str(route)
        record.update_name(f"{method} {route}")
    record.set_attributes(attributes)
    if status >= _SERVER_ERROR:
        record.set_status(Status(StatusCode.ERROR))


def _parent_of(headers: Any) -> otel_context.Context:
    found = [value for name, value in headers if name == _HEADER]
    if len(found) != 1:  # two of them are as good as none (W3C)
        return below(None)
    return below(remote(found[0].decode("latin-1")))


def _handing_on(scope: MutableMapping[str, Any], record: trace.Span) -> MutableMapping[str, Any]:
    """Let what is inside, the guard above all, take the trace that is recorded."""
    own = traceparent_of(record.get_span_context()).encode()
    headers = [pair for pair in scope.get("headers", ()) if pair[0] != _HEADER]
    return {**scope, "headers": [*headers, (_HEADER, own)]}


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: Kind = "internal",
    tracer: trace.Tracer | None = None,
) -> Generator[trace.Span]:
    """Record one span for the block, below the one that is current.

    ::

        with span("POST /shipments", kind="client"):
            await client.post(url, headers=outgoing_headers())   # names this span as the parent

    Args:
        name: of few different values: a route and no path, a statement and no parameters.
        attributes: what to tell of it.
        kind: "client" around a call to somebody else, "producer" and "consumer" around messages.
        tracer: of OpenTelemetry; that of the global provider when omitted.

    Yields:
        The span, for what is known only later.

    An error that leaves the block, or a cancel, makes it an error. Tasks that are started inside inherit it.

    Cost: some ten microseconds where an SDK records, one where none does.
    """
    record = (tracer or default_tracer()).start_span(
        name, kind=SpanKind[kind.upper()], attributes=dict(attributes or {})
    )
    if not record.get_span_context().is_valid:
        yield record
        return
    with CurrentSpan(record):
        yield record


@asynccontextmanager
async def traced_scope(
    name: str,
    *,
    attributes: Attributes | None = None,
    tracer: trace.Tracer | None = None,
    **options: Any,
) -> AsyncGenerator[Scope]:
    """Open a `Scope`, and record it as a span: from its begin until its last task has ended.

    Args:
        name: of both.
        attributes: of the span.
        tracer: see `span`.
        options: of the scope.

    Cancelled: as the scope; the span is an error then.
    """
    with span(name, attributes, tracer=tracer):
        async with Scope(name, **options) as scope:
            yield scope


def write_spans(path: Path, *, service: str) -> Any:
    """Record all spans to a file, one document of OTLP in JSON a line: the sink for whoever has no collector.

    Needs opentelemetry-sdk and opentelemetry-exporter-otlp-json-file. It becomes the global provider, which can be
    set once in a process.

    Args:
        path: of the file; it is appended to.
        service: the `service.name` of its resource.

    Returns:
        The provider; `shutdown()` writes what is left, and blocks meanwhile. Register it as a shutdown hook, or call it
        at the end of the process.
    """
    from opentelemetry.exporter.otlp.json.file import FileSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(FileSpanExporter(path)))
    trace.set_tracer_provider(provider)
    return provider
