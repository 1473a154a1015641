"""The gRPC guard on a real server: scopes, deadlines that travel, errors, and a stop that waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import backstay
from backstay.context import REQUEST_ID, SPAN, TRACE, Key, TraceParent, bind, identity_headers
from backstay.errors import ExpiredError
from backstay.integrations.grpc import ServerGuard, carry, channel_options, grpc_server, stop
from backstay.lifecycle import Service
from backstay.tasks import current_scope, info

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TENANT = Key[str]("tenant", carry=True)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, methods: dict[str, Any]) -> None:
        self._methods = methods

    def service(self, details: Any) -> Any:
        return self._methods.get(details.method)


@asynccontextmanager
async def serving(
    guard: ServerGuard, unary: Callable[..., Any] | None = None, **methods: Any
) -> AsyncIterator[tuple[grpc.aio.Server, grpc.aio.Channel]]:
    server = grpc.aio.server(interceptors=[guard])
    if unary is not None:
        methods["Unary"] = grpc.unary_unary_rpc_method_handler(unary)
    handlers = {f"/shop.Test/{name}": method for name, method in methods.items()}
    server.add_generic_rpc_handlers((_Handlers(handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, channel
    await server.stop(0)


async def test_a_slow_way_to_the_server_is_no_outage() -> None:
    """With `channel_options` a connection that takes half a second is made; a try is not cut before."""
    guard = ServerGuard()

    async def handler(request: bytes, context: Any) -> bytes:
        return request

    server = grpc.aio.server(interceptors=[guard])
    method = grpc.unary_unary_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((_Handlers({"/shop.Test/Unary": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def relay(source: asyncio.StreamReader, to: asyncio.StreamWriter, delay: float) -> None:
        await asyncio.sleep(delay)
        while data := await source.read(65536):
            to.write(data)
            await to.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(relay(reader, outer, 0.0), relay(inner, writer, 0.5))
        finally:
            writer.close()
            outer.close()

    way = await asyncio.start_server(connected, "127.0.0.1", 0)
    target = "127.0.0.1:%d" % way.sockets[0].getsockname()[1]  # noqa: UP031
    async with grpc.aio.insecure_channel(target, options=channel_options()) as channel:
        call = channel.unary_unary("/shop.Test/Unary")
        assert await call(b"here", timeout=5, wait_for_ready=True) == b"here"
    way.close()
    await server.stop(0)


async def test_a_call_is_a_scope_with_what_its_caller_carried() -> None:
    """Owner, trace, id, deadline and carried keys arrive; keys nobody asked for do not."""
    seen: list[Any] = []

    async def handler(request: bytes, context: Any) -> bytes:
        owner = current_scope()
        me = asyncio.current_task()
        assert owner is not None
        assert me is not None
        seen.append((owner.name, owner.kind, owner.trace_id, info(me).owner is owner))
        seen.append((TRACE.get(), REQUEST_ID.get(), TENANT.get()))
        left = backstay.remaining()
        assert left is not None
        seen.append(1.5 < left <= 2.0)
        return request

    guard = ServerGuard(keys=[TENANT])
    async with serving(guard, handler) as (_, channel):
        stub = channel.unary_unary("/shop.Test/Unary")
        with bind(TENANT, "warm-up"):  # tracking begins with the first call
            await stub(b"", timeout=1.8)
        seen.clear()
        other = Key[str]("other", carry=True)
        with bind(TRACE, TRACE_ID), bind(REQUEST_ID, "r-1"), bind(TENANT, "acme"), bind(other, "x"):
            async with backstay.timeout(2.0):
                assert await stub(b"hi", **carry()) == b"hi"
    assert seen == [
        ("shop.Test/Unary", "request", TRACE_ID, True),
        (TRACE_ID, "r-1", "acme"),
        True,
    ]
    assert guard.statistics().calls == 2


async def test_without_metadata_ids_are_made_and_there_is_no_deadline() -> None:
    """A stranger's call is served under fresh ids, garbage ids included."""
    seen: list[Any] = []

    async def handler(request: bytes, context: Any) -> bytes:
        seen.append((TRACE.get(), REQUEST_ID.get(), backstay.remaining()))
        return request

    async with serving(ServerGuard(), handler) as (_, channel):
        stub = channel.unary_unary("/shop.Test/Unary")
        await stub(b"")
        await stub(b"", metadata=(("traceparent", "garbage"), ("x-request-id", "a b")))
    for trace, request_id, left in seen:
        assert len(trace) == 32
        assert len(request_id) == 16
        assert left is None


async def test_the_default_timeout_ends_a_call_whose_caller_named_none() -> None:
    """DEADLINE_EXCEEDED with the marker, and the handler is cancelled."""
    ends: list[str] = []

    async def handler(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(10)
        finally:
            ends.append("cleaned up")
        return request

    guard = ServerGuard(timeout=0.2)
    async with serving(guard, handler) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/shop.Test/Unary")(b"")
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert ("backstay-deadline", "expired") in tuple(raised.value.trailing_metadata())
    assert ends == ["cleaned up"]
    assert guard.statistics().expired == 1


async def test_the_callers_deadline_cancels_the_handler() -> None:
    """Whoever strikes first, grpc or the scope, the handler ends."""
    ends: list[str] = []

    async def handler(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(10)
        finally:
            ends.append("cleaned up")
        return request

    async with serving(ServerGuard(), handler) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/shop.Test/Unary")(b"", timeout=0.2)
        await asyncio.sleep(0.1)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert ends == ["cleaned up"]


async def test_an_unhandled_error_is_one_record_and_says_nothing_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets INTERNAL and the request id, the log gets the rest."""

    async def handler(request: bytes, context: Any) -> bytes:
        raise ValueError("password=hunter2")

    guard = ServerGuard()
    async with serving(guard, handler) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/shop.Test/Unary")(b"", metadata=(("x-request-id", "r-7"),))
    assert raised.value.code() == grpc.StatusCode.INTERNAL
    assert raised.value.details() == "internal error (request r-7)"
    (record,) = [r for r in caplog.records if r.name == "backstay.grpc"]
    assert record.levelno == logging.ERROR
    assert record.__dict__["request_id"] == "r-7"
    assert record.__dict__["method"] == "/shop.Test/Unary"
    assert guard.statistics().failed == 1


async def test_a_deliberate_abort_passes_through(caplog: pytest.LogCaptureFixture) -> None:
    """What the handler decides is not an error of ours to report."""

    async def handler(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        return b""

    async with serving(ServerGuard(), handler) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/shop.Test/Unary")(b"")
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await channel.unary_unary("/shop.Test/Nothing")(b"")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert not [r for r in caplog.records if r.name == "backstay.grpc"]


async def test_all_four_kinds_of_call_and_a_handler_that_is_not_async() -> None:
    """Streams in and out are guarded alike; synchronous handlers are left to grpc."""
    names: list[Any] = []

    def note() -> None:
        scope = current_scope()
        names.append(scope.name if scope else None)

    async def out(request: bytes, context: Any) -> AsyncIterator[bytes]:
        note()
        for i in range(3):
            yield b"%d" % i

    async def collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
        note()
        return b"".join([part async for part in requests])

    async def both(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        note()
        async for part in requests:
            yield part.upper()

    async def writes(request: bytes, context: Any) -> None:
        note()
        await context.write(b"w")

    def plain(request: bytes, context: Any) -> bytes:
        note()
        return b"sync"

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"b"):
            yield part

    async with serving(
        ServerGuard(),
        plain,
        Out=grpc.unary_stream_rpc_method_handler(out),
        Collect=grpc.stream_unary_rpc_method_handler(collect),
        Both=grpc.stream_stream_rpc_method_handler(both),
        Writes=grpc.unary_stream_rpc_method_handler(writes),
    ) as (_, channel):
        assert [r async for r in channel.unary_stream("/shop.Test/Out")(b"")] == [b"0", b"1", b"2"]
        assert await channel.stream_unary("/shop.Test/Collect")(parts()) == b"ab"
        assert [r async for r in channel.stream_stream("/shop.Test/Both")(parts())] == [b"A", b"B"]
        assert [r async for r in channel.unary_stream("/shop.Test/Writes")(b"")] == [b"w"]
        assert await channel.unary_unary("/shop.Test/Unary")(b"") == b"sync"
    assert names == [f"shop.Test/{name}" for name in ("Out", "Collect", "Both", "Writes")] + [None]


async def test_stop_returns_only_when_handlers_have_cleaned_up() -> None:
    """grpc's own stop returns while a cancelled handler still runs its finally."""
    events: list[str] = []

    async def handler(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(10)
        finally:
            events.append("cleaning")
            await asyncio.sleep(0.4)
            events.append("clean")
        return request

    guard = ServerGuard()
    async with serving(guard, handler) as (server, channel):
        call = channel.unary_unary("/shop.Test/Unary")(b"")
        while guard.statistics().in_flight == 0:
            await asyncio.sleep(0.01)
        assert await stop(server, guard, grace=0.1) == []
        assert events == ["cleaning", "clean"]
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call


async def test_stop_names_handlers_that_will_not_end() -> None:
    """Waiting has a bound, and who exceeded it is told."""
    release = asyncio.Event()

    async def handler(request: bytes, context: Any) -> bytes:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
        return request

    guard = ServerGuard()
    async with serving(guard, handler) as (server, channel):
        call = channel.unary_unary("/shop.Test/Unary")(b"")
        while guard.statistics().in_flight == 0:
            await asyncio.sleep(0.01)
        assert await stop(server, guard, grace=0.1, clean_up=0.2) == ["shop.Test/Unary"]
        release.set()
        assert await guard.drain() == []
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call


async def test_a_spent_deadline_makes_no_call() -> None:
    """Fail fast on this side of the wire."""
    with pytest.raises(backstay.errors.DeadlineExceeded):
        async with backstay.timeout(0.02, name="checkout"):
            await asyncio.sleep(0.016)
            with pytest.raises(ExpiredError, match="checkout"):
                carry(margin=0.01)
            await asyncio.sleep(1)


def test_carry_takes_the_shorter_of_its_own_and_the_ambient_time() -> None:
    """A timeout of the call's own holds without a deadline and shortens one."""

    async def main() -> None:
        assert carry() == {}
        assert carry(timeout=0.5) == {"timeout": 0.5}
        async with backstay.timeout(10):
            assert carry(timeout=0.5)["timeout"] == 0.5
            assert 9 < carry()["timeout"] < 10
        assert carry(metadata=[("a", "b")]) == {"metadata": (("a", "b"),)}

    asyncio.run(main())


def test_a_timeout_that_cannot_be_meant_is_refused() -> None:
    """Wrong options fail where they are written."""
    with pytest.raises(ValueError, match="above 0"):
        ServerGuard(timeout=0)


@pytest.mark.parametrize(("takes", "answered"), [(0.3, True), (30.0, False)])
async def test_a_server_is_a_part_of_a_service(takes: float, answered: bool) -> None:
    """At its end a call in flight finishes, or is cancelled after the grace; its clean-up is waited for."""
    tidied: list[str] = []
    begun = asyncio.Event()

    async def handler(request: bytes, context: Any) -> bytes:
        begun.set()
        try:
            await asyncio.sleep(takes)
        finally:
            await asyncio.sleep(0.1)
            tidied.append("tidied")
        return b"done"

    guard = ServerGuard()
    server = grpc.aio.server(interceptors=[guard])
    methods = {"/shop.Test/Unary": grpc.unary_unary_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((_Handlers(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    service = Service("rpc")
    service.add("server", lambda: grpc_server(server, guard, grace=1.0), budget=5.0)
    running = asyncio.create_task(service.run())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/shop.Test/Unary")(b"")
        await begun.wait()
        service.stop()
        record = await running
        assert tidied == ["tidied"], "the stop has waited for the clean-up"
        assert (record.exit_code, record.components[0].cut) == (0, False)
        if answered:
            assert await call == b"done"
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_what_surrounded_the_start_of_a_server_is_no_parent() -> None:
    """A span that was current then is of another trace, and calls made while serving do not name it."""
    seen: list[str] = []

    async def handler(request: bytes, context: Any) -> bytes:
        seen.append(identity_headers()["traceparent"])
        return request

    with bind(TRACE, "a" * 32), bind(SPAN, TraceParent("a" * 32, "b" * 16, 1)):
        async with serving(ServerGuard(), handler) as (_, channel):
            stub = channel.unary_unary("/shop.Test/Unary")
            await stub(b"", metadata=(("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"),))
    (one,) = seen
    assert one.startswith(f"00-{TRACE_ID}-")
    assert "b" * 16 not in one


async def test_a_client_that_leaves_while_a_reply_is_sent_leaves_no_generator_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The handler's clean-up runs in the task and scope of its call, and is waited for."""
    began, full = asyncio.Event(), asyncio.Event()
    cleaned: list[tuple[object, Any]] = []
    served_by: list[object] = []

    async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
        served_by.append(asyncio.current_task())
        try:
            began.set()
            while True:
                full.set()
                yield b"x" * 1_000_000  # more than the window of the stream, and nobody reads
                full.clear()
        finally:
            await asyncio.sleep(0.05)
            scope = current_scope()
            cleaned.append((asyncio.current_task(), scope and scope.name))

    guard = ServerGuard()
    async with serving(guard, Flood=grpc.unary_stream_rpc_method_handler(flood)) as (_, channel):
        call = channel.unary_stream("/shop.Test/Flood")(b"")
        await began.wait()
        for _ in range(20):  # until the handler stands at its yield, with the window full
            await asyncio.sleep(0.02)
        assert full.is_set()
        call.cancel()
        while guard.statistics().in_flight:
            assert await guard.drain(timeout=5.0) == []
    assert cleaned == [(served_by[0], "shop.Test/Flood")]
    assert guard.statistics().failed == 0
    assert not [r for r in caplog.records if r.name == "backstay.grpc"]
