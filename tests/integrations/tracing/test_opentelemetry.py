"""Spans of the SDK of OpenTelemetry: one a request, one identity with Backstay, and a file that is OTLP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from recorded_spans import Sink

from backstay.context import SPAN, TRACE, outgoing_headers, parse_traceparent
from backstay.integrations.asgi import guard
from backstay.integrations.opentelemetry import span, traced, traced_scope

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


async def ask(app: Any, path: str = "/orders/7", headers: Any = ()) -> int:
    """Send one request to an application, without a server; the status."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        raise AssertionError("not reached")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http", "method": "GET", "path": path, "headers": list(headers), "http_version": "1.1",
        "query_string": b"", "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    return statuses[0]


class App:
    """Answers, and notes what it has seen of the trace."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.headers: list[dict[str, str]] = []
        self.traces: list[str | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers.append(outgoing_headers())
        self.traces.append(TRACE.get())
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_what_was_current_when_the_server_was_started_is_no_parent() -> None:
    """A caller that names no span begins a trace of its own."""
    sink = Sink()
    with span("start-up", tracer=sink.tracer):
        assert await ask(traced(App(), tracer=sink.tracer)) == 200
    request, start_up = sink.spans
    assert request.parent is None
    assert request.context is not None
    assert start_up.context is not None
    assert request.context.trace_id != start_up.context.trace_id


@pytest.mark.parametrize("guarded", [False, True])
async def test_a_request_is_one_span_below_its_caller(guarded: bool) -> None:
    """Trace, parent and name; and what the handler calls names that very span as its parent."""
    sink, app = Sink(), App()
    served = traced(guard(app) if guarded else app, tracer=sink.tracer)
    caller = [(b"traceparent", f"00-{TRACE_ID}-{CALLER}-01".encode())]
    assert await ask(served, headers=caller) == 200
    (one,) = sink.spans
    assert one.kind is SpanKind.SERVER
    assert one.name == "GET"
    assert one.context is not None
    assert one.parent is not None
    assert f"{one.context.trace_id:032x}" == TRACE_ID == app.traces[0]
    assert f"{one.parent.span_id:016x}" == CALLER
    assert dict(one.attributes or {}) == {
        "http.request.method": "GET",
        "url.path": "/orders/7",
        "http.response.status_code": 200,
    }
    onward = parse_traceparent(app.headers[0]["traceparent"])
    assert onward is not None
    assert onward == (TRACE_ID, f"{one.context.span_id:016x}", 1)
    assert SPAN.get() is None


async def test_without_a_caller_logs_and_spans_name_one_trace() -> None:
    """The span begins the trace, and the guard takes it from there."""
    sink, app = Sink(), App()
    await ask(traced(guard(app), tracer=sink.tracer))
    (one,) = sink.spans
    assert one.parent is None
    assert one.context is not None
    assert app.traces == [f"{one.context.trace_id:032x}"]


async def test_errors_are_errors() -> None:
    """A status of 500, an error that nobody handles, a cancel."""
    sink = Sink()

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("broken")

    async def hang(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    await ask(traced(App(503), tracer=sink.tracer))
    with pytest.raises(ValueError, match="broken"):
        await ask(traced(fail, tracer=sink.tracer))
    cut = asyncio.get_running_loop().create_task(ask(traced(hang, tracer=sink.tracer)))
    await asyncio.sleep(0.1)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    assert [one.status.status_code for one in sink.spans] == [StatusCode.ERROR] * 3
    assert [one.status.description for one in sink.spans] == [None, "ValueError", "CancelledError"]
    assert [event.name for event in sink.spans[1].events] == ["exception"]
    assert not get_current_span().get_span_context().is_valid


async def test_blocks_and_scopes_are_spans_below_the_current_one() -> None:
    """In tasks that a scope starts, too; and a sampler that says no is handed on."""
    sink = Sink()

    async def child() -> None:
        with span("child", {"sku": "winch"}, kind="client", tracer=sink.tracer):
            await asyncio.sleep(0.01)

    with span("outer", tracer=sink.tracer):
        async with traced_scope("fan-out", tracer=sink.tracer, max_tasks=2) as scope:
            scope.go(child)
    names = {one.name: one for one in sink.spans}
    assert set(names) == {"outer", "fan-out", "child"}
    for inner, outer in (("fan-out", "outer"), ("child", "fan-out")):
        parent, context = names[inner].parent, names[outer].context
        assert parent is not None
        assert context is not None
        assert parent.span_id == context.span_id
    assert dict(names["child"].attributes or {}) == {"sku": "winch"}
    silent = Sink(sampler=ALWAYS_OFF)
    with span("unsampled", tracer=silent.tracer):
        onward = parse_traceparent(outgoing_headers()["traceparent"])
        assert onward is not None
        assert onward.flags & 1 == 0
    assert silent.spans == ()


async def test_without_an_sdk_nothing_is_changed() -> None:
    """No span, no header, no trace of its own; the application is served as it is."""
    app = App()
    assert await ask(traced(app)) == 200
    with span("nothing"):
        assert SPAN.get() is None
    assert app.headers == [{}]


PROGRAM = """
import sys
from pathlib import Path
from backstay.integrations.opentelemetry import span, write_spans
provider = write_spans(Path(sys.argv[1]), service="orders")
with span("outer"), span("inner"):
    pass
provider.shutdown()
"""


def test_the_file_is_otlp_in_json(tmp_path: Path) -> None:
    """A document a line, with the service, both spans and their relation."""
    path = tmp_path / "spans.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (document,) = [json.loads(line) for line in path.read_text().splitlines()]
    (resource,) = document["resourceSpans"]
    attributes = {one["key"]: one["value"] for one in resource["resource"]["attributes"]}
    assert attributes["service.name"] == {"stringValue": "orders"}
    spans = {one["name"]: one for one in resource["scopeSpans"][0]["spans"]}
    assert spans["inner"]["parentSpanId"] == spans["outer"]["spanId"]
    assert spans["inner"]["traceId"] == spans["outer"]["traceId"]
