"""Spans of calls over a real channel: below their caller, with their status, ended however the call ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from recorded_spans import Sink, attributes_of, id_of, parent_of

import backstay
from backstay.context import SPAN, TRACE, identity_headers
from backstay.integrations.grpc import ServerGuard, carry
from backstay.integrations.opentelemetry import span
from backstay.integrations.opentelemetry_grpc import CallTracer, call_span

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
METHOD = "shop.Test/Call"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, method: Any) -> None:
        self._method = method

    def service(self, details: Any) -> Any:
        return self._method if details.method == f"/{METHOD}" else None


@asynccontextmanager
async def serving(
    interceptors: list[Any], function: Any, kind: str = "unary_unary"
) -> AsyncIterator[Any]:
    """Serve one method, and yield its stub."""
    server = grpc.aio.server(interceptors=interceptors)
    method = getattr(grpc, f"{kind}_rpc_method_handler")(function)
    server.add_generic_rpc_handlers((_Handlers(method),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield getattr(channel, kind)(f"/{METHOD}")
    await server.stop(0)


def traced_by(sink: Sink, guarded: bool) -> list[Any]:
    return [CallTracer(tracer=sink.tracer), *([ServerGuard()] if guarded else [])]


async def ended(sink: Sink) -> None:
    """Wait until no span is open: the server's may end after the client has its answer."""
    async with asyncio.timeout(5):
        while sink.open:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_is_a_span_on_either_side(kind: str, guarded: bool) -> None:
    """The server's below the client's, and both of its trace, however requests and replies come."""
    sink, seen = Sink(), []

    def look() -> None:
        seen.append((TRACE.get(), identity_headers()["traceparent"][36:52]))

    async def single(request: Any, context: Any) -> bytes:
        look()
        return b"1"

    async def several(request: Any, context: Any) -> AsyncIterator[bytes]:
        look()
        for reply in (b"1", b"2"):
            yield reply

    async def ask(stub: Any) -> list[bytes]:
        request = [b"a", b"b"] if kind.startswith("stream") else b"a"
        call = stub(request, **carry(timeout=5))
        return [one async for one in call] if kind.endswith("stream") else [await call]

    function = several if kind.endswith("stream") else single
    async with serving(traced_by(sink, guarded), function, kind) as stub:
        with span("outer", tracer=sink.tracer), call_span(METHOD, tracer=sink.tracer):
            assert await ask(stub) == ([b"1", b"2"] if kind.endswith("stream") else [b"1"])
        await ended(sink)
    client, server = sink.one(METHOD, SpanKind.CLIENT), sink.one(METHOD, SpanKind.SERVER)
    assert parent_of(client) == id_of(sink.one("outer"))
    assert parent_of(server) == id_of(client)
    assert server.context is not None
    assert seen == [(f"{server.context.trace_id:032x}", f"{id_of(server):016x}")]
    told = {"rpc.system.name": "grpc", "rpc.method": METHOD, "rpc.response.status_code": "OK"}
    assert attributes_of(client) == attributes_of(server) == told
    assert {one.status.status_code for one in sink.spans} == {StatusCode.UNSET}
    assert SPAN.get() is None


@pytest.mark.parametrize("guarded", [False, True])
async def test_without_a_caller_it_begins_a_trace_of_its_own(guarded: bool) -> None:
    """Which the guard takes; and not below whatever was current when the server was started."""
    sink, seen = Sink(), []

    async def handler(request: bytes, context: Any) -> bytes:
        seen.append(TRACE.get())
        return request

    with span("start-up", tracer=sink.tracer):
        async with serving(traced_by(sink, guarded), handler) as stub:
            await stub(b"")
            await stub(b"", metadata=[("traceparent", f"00-{TRACE_ID}-nonsense-01")])
            while len(sink.spans) < 2:
                await asyncio.sleep(0.005)
    served = [one for one in sink.spans if one.name == METHOD]
    assert [one.parent for one in served] == [None, None]
    assert seen == [f"{one.context.trace_id:032x}" for one in served if one.context is not None]
    assert len({*seen, TRACE_ID}) == 3


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize(
    ("code", "fault"), [("NOT_FOUND", False), ("UNAVAILABLE", True), ("INTERNAL", True)]
)
async def test_a_status_is_told_on_either_side(code: str, fault: bool, guarded: bool) -> None:
    """Each but OK is an error to who has called; to the server only what is its own fault."""
    sink = Sink()

    async def handler(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode[code], "no")
        raise AssertionError("not reached")

    async with serving(traced_by(sink, guarded), handler) as stub:
        with pytest.raises(grpc.aio.AioRpcError), call_span(METHOD, tracer=sink.tracer):
            await stub(b"", **carry())
        await ended(sink)
    client, server = sink.one(METHOD, SpanKind.CLIENT), sink.one(METHOD, SpanKind.SERVER)
    for one in (client, server):
        assert attributes_of(one)["rpc.response.status_code"] == code
    assert attributes_of(client)["error.type"] == code
    assert client.status.status_code is StatusCode.ERROR
    assert (server.status.status_code is StatusCode.ERROR) is fault
    assert client.events == server.events == ()


@pytest.mark.parametrize(("guarded", "code"), [(False, "UNKNOWN"), (True, "INTERNAL")])
async def test_an_error_that_nobody_handles(guarded: bool, code: str) -> None:
    """Without a guard it is recorded with the exception; with one its answer is what there is to tell."""
    sink = Sink()

    async def handler(request: bytes, context: Any) -> bytes:
        raise ValueError("broken")

    async with serving(traced_by(sink, guarded), handler) as stub:
        with pytest.raises(grpc.aio.AioRpcError), call_span(METHOD, tracer=sink.tracer):
            await stub(b"", **carry())
        await ended(sink)
    server = sink.one(METHOD, SpanKind.SERVER)
    assert attributes_of(server)["rpc.response.status_code"] == code
    assert attributes_of(sink.one(METHOD, SpanKind.CLIENT))["rpc.response.status_code"] == code
    assert server.status.status_code is StatusCode.ERROR
    assert attributes_of(server)["error.type"] == (code if guarded else "ValueError")
    assert [event.name for event in server.events] == ([] if guarded else ["exception"])


async def test_a_deadline_that_passes_is_an_error_on_either_side() -> None:
    """The guard answers with it, and the client's call raises it."""
    sink = Sink()

    async def handler(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(30)
        return request

    async with serving(traced_by(sink, True), handler) as stub:
        with pytest.raises(grpc.aio.AioRpcError), call_span(METHOD, tracer=sink.tracer):
            await stub(b"", **carry(timeout=0.3))
        await ended(sink)
    assert {one.status.status_code for one in sink.spans} == {StatusCode.ERROR}
    client = sink.one(METHOD, SpanKind.CLIENT)
    assert attributes_of(client)["rpc.response.status_code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_cancelled_call_ends_its_spans_as_errors(kind: str, guarded: bool) -> None:
    """On either side, at once; a stream that nobody reads on from included."""
    sink, began = Sink(), asyncio.Event()

    async def single(request: bytes, context: Any) -> bytes:
        began.set()
        await asyncio.sleep(30)
        return request

    async def several(request: bytes, context: Any) -> AsyncIterator[bytes]:
        began.set()
        while True:
            yield b"x" * 100_000  # until the window is full, and the write waits

    async def ask(stub: Any) -> None:
        with call_span(METHOD, tracer=sink.tracer):
            call = stub(b"", **carry())
            try:
                if kind == "unary_stream":
                    await call.read()
                    await asyncio.sleep(30)
                await call
            finally:
                call.cancel()

    function = several if kind == "unary_stream" else single
    async with serving(traced_by(sink, guarded), function, kind) as stub:
        task = asyncio.get_running_loop().create_task(ask(stub))
        await began.wait()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended(sink)
    client, server = sink.one(METHOD, SpanKind.CLIENT), sink.one(METHOD, SpanKind.SERVER)
    assert client.status.description == server.status.description == "CancelledError"
    assert {one.status.status_code for one in sink.spans} == {StatusCode.ERROR}
    assert not get_current_span().get_span_context().is_valid


async def test_calls_at_once_are_never_mixed() -> None:
    """Thirty of them, each with spans of its own, in tasks and handlers that take turns."""
    sink = Sink()

    async def handler(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0.001)
        with span(f"work {request.decode()}", tracer=sink.tracer):
            await asyncio.sleep(0.001)
        return request

    async with serving(traced_by(sink, True), handler) as stub:

        async def ask(number: int) -> None:
            name = str(number)
            with span(f"outer {name}", tracer=sink.tracer), call_span(METHOD, tracer=sink.tracer):
                assert await stub(name.encode(), **carry()) == name.encode()

        async with backstay.Scope("clients") as scope:
            for number in range(30):
                scope.go(ask, number)
        await ended(sink)
    for number in range(30):
        context = sink.one(f"outer {number}").context
        assert context is not None
        server = {f"{METHOD} server": {f"work {number} internal": {}}}
        expected = {f"outer {number} internal": {f"{METHOD} client": server}}
        assert sink.tree(context.trace_id) == expected


async def test_a_sampler_that_says_no_is_handed_on() -> None:
    """Nothing is recorded on either side, and the callee is told so."""
    sink, flags = Sink(sampler=ALWAYS_OFF), []

    async def handler(request: bytes, context: Any) -> bytes:
        flags.append(dict(context.invocation_metadata())["traceparent"][-2:])
        return request

    async with serving(traced_by(sink, True), handler) as stub:
        with call_span(METHOD, tracer=sink.tracer):
            await stub(b"", **carry())
    assert [int(one, 16) & 1 for one in flags] == [0]
    assert sink.spans == ()


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_without_an_sdk_nothing_is_changed(kind: str) -> None:
    """No header, no trace of its own; the call is served as it is."""
    seen: list[Any] = []

    async def single(request: bytes, context: Any) -> bytes:
        seen.append((SPAN.get(), dict(context.invocation_metadata()).get("traceparent")))
        return request

    async def several(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await single(request, context)

    function = several if kind == "unary_stream" else single
    async with serving([CallTracer()], function, kind) as stub:
        with call_span(METHOD):
            call = stub(b"hi", **carry())
            got = await call if kind == "unary_unary" else [one async for one in call]
    assert got in (b"hi", [b"hi"])
    assert seen == [(None, None)]


async def test_handlers_in_threads_and_unknown_methods_are_left_alone() -> None:
    """They answer as they would, and no span is recorded."""
    sink = Sink()

    def handler(request: bytes, context: Any) -> bytes:
        return request

    async with serving(traced_by(sink, True), handler) as stub:
        assert await stub(b"hi") == b"hi"
    assert sink.spans == ()


@pytest.mark.parametrize("guarded", [False, True])
async def test_a_stream_that_is_cut_is_cleaned_up_as_without_a_span(
    guarded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its span ends with the call; what the handler does after that is done to its end, and nobody complains."""
    sink, cleaned = Sink(), asyncio.Event()

    async def endless(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000  # until the window is full, and the write waits
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    async with serving(traced_by(sink, guarded), endless, "unary_stream") as stub:
        call = stub(b"")
        await call.read()
        await asyncio.sleep(0.1)
        call.cancel()
        await ended(sink)
        async with asyncio.timeout(5):
            await cleaned.wait()
    assert sink.one(METHOD).status.description == "CancelledError"
    assert [one for one in caplog.records if one.name.startswith("opentelemetry")] == []
