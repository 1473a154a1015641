"""Promise: a span for each request costs at most half of what the contrib instrumentation takes for it.

Four hello-world Starlette apps in one child process under uvicorn (httptools, uvloop): bare, with
`integrations.opentelemetry.traced`, with the same inside the guard, and with the ASGI middleware of
opentelemetry-instrumentation-asgi. Every request is recorded by the SDK, and thrown away by the exporter. One
client keeps 16 connections busy against one app at a time, in interleaved rounds; what is compared is the CPU of
the child for each request, above that of the bare app.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.child_server import cpu_per_request, serve_until_told
from benchmarks.rounds import Figure

ROUNDS = 30
PORTS = ("bare", "traced", "guarded", "contrib")


def to_nowhere() -> Any:
    """Return a provider that records each span, and throws it away where it would be exported."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


def measure() -> list[Figure]:
    """Return what a span costs, against the contrib instrumentation's."""
    cost = cpu_per_request(["benchmarks.tracing"], PORTS, ROUNDS)
    above = {name: value - cost["bare"] for name, value in cost.items()}
    note = ", ".join(f"{name} +{value * 1e6:.0f} µs" for name, value in above.items())
    return [Figure("tracing.asgi", above["traced"] / above["contrib"], "x", note, above)]


async def _serve() -> None:
    """Be the child: serve the four apps until standard input ends."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from backstay.integrations.asgi import guard
    from backstay.integrations.opentelemetry import traced

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    provider = to_nowhere()
    tracer = provider.get_tracer("bench")
    routes = [Route("/", hello)]
    apps: dict[str, Any] = {
        "bare": Starlette(routes=routes),
        "traced": traced(Starlette(routes=routes), tracer=tracer),
        "guarded": traced(guard(Starlette(routes=routes)), tracer=tracer),
        "contrib": OpenTelemetryMiddleware(Starlette(routes=routes), tracer_provider=provider),
    }
    await serve_until_told(apps, http="httptools", access_log=False, log_level="error")


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
