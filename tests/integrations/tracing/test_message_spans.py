"""One request through ASGI, gRPC, two databases, Redis, a broker and a consumer is one tree of spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import grpc
import grpc.aio
import nats
import pytest
import redis.asyncio
import uvicorn
from opentelemetry.trace import SpanKind, StatusCode
from recorded_spans import Sink, attributes_of, id_of, parent_of
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import backstay
from backstay.context import TRACE, identity_headers, parse_traceparent
from backstay.integrations.asgi import guard
from backstay.integrations.grpc import ServerGuard, carry
from backstay.integrations.nats import JetStreamSubscription
from backstay.integrations.opentelemetry import span, traced
from backstay.integrations.opentelemetry_asyncpg import traced_connection
from backstay.integrations.opentelemetry_grpc import CallTracer, call_span
from backstay.integrations.opentelemetry_messages import publish_span, traced_handler
from backstay.integrations.opentelemetry_redis import trace_commands
from backstay.integrations.opentelemetry_sqlalchemy import trace_statements
from backstay.integrations.redis_streams import RedisStreamSubscription, publish
from backstay.lifecycle import Consumer, Delivery, Redelivery

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

METHOD = "shop.Stock/Reserve"
CALLER = "00f067aa0ba902b7"
Send = Callable[[str, bytes], Awaitable[object]]


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, reserve: Any) -> None:
        self._method = grpc.unary_unary_rpc_method_handler(reserve)

    def service(self, details: Any) -> Any:
        return self._method


@asynccontextmanager
async def rpc(reserve: Any, sink: Sink) -> AsyncIterator[Any]:
    """Serve one method, traced and guarded, and yield its stub."""
    server = grpc.aio.server(interceptors=[CallTracer(tracer=sink.tracer), ServerGuard()])
    server.add_generic_rpc_handlers((_Handlers(reserve),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary(f"/{METHOD}")
    await server.stop(0)


@asynccontextmanager
async def http(app: Any) -> AsyncIterator[int]:
    """Serve an application with uvicorn, and yield its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True


async def get(port: int, path: str, trace_id: str) -> bytes:
    """Send one request, as the caller does whose span is CALLER."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    parent = f"traceparent: 00-{trace_id}-{CALLER}-01"
    lines = (f"GET {path} HTTP/1.1", "host: localhost", "connection: close", parent, "", "")
    writer.write("\r\n".join(lines).encode())
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    return reply.split(b" ", 2)[1]


@asynccontextmanager
async def streams(client: Any, sink: Sink) -> AsyncIterator[tuple[Any, Send]]:
    """Give a subscription to a Redis stream, and what publishes to it."""

    async def send(name: str, payload: bytes) -> None:
        with publish_span("orders", "redis", message_id=name, tracer=sink.tracer) as headers:
            await publish(client, "orders", payload, message_id=name, headers=headers)

    async with RedisStreamSubscription(client, "orders", "fulfilment") as subscription:
        yield subscription, send


@asynccontextmanager
async def jetstream(url: str, sink: Sink) -> AsyncIterator[tuple[Any, Send]]:
    """Give a subscription to a JetStream stream, and what publishes to it."""
    connection = await nats.connect(url)
    stream: Any = connection.jetstream()
    await stream.add_stream(name="orders", subjects=["orders"])

    async def send(name: str, payload: bytes) -> None:
        own = {"Nats-Msg-Id": name}
        with publish_span("orders", "nats", own, message_id=name, tracer=sink.tracer) as headers:
            await stream.publish("orders", payload, headers=headers)

    try:
        async with JetStreamSubscription(connection, "orders", "fulfilment") as subscription:
            yield subscription, send
        await stream.delete_stream("orders")
    finally:
        await connection.close()


class Shop:
    """An edge, a service of stock behind it, and a consumer of what that has published; all in one process.

    Attributes:
        port: of the edge.
        traces: by the name of an order, the trace that each station saw as its own.
        shipped: the orders that the consumer has finished.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.port = 0
        self.traces: dict[str, list[str | None]] = {}
        self.shipped: set[str] = set()
        self._client: Any = None
        self._pool: Any = None
        self._engine: Any = None
        self._stub: Any = None
        self._send: Send | None = None

    def _seen(self, order: str) -> None:
        self.traces.setdefault(order, []).append(TRACE.get())

    async def edge(self, scope: Any, receive: Any, send: Any) -> None:
        order = scope["path"].rsplit("/", 1)[1]
        self._seen(order)
        with call_span(METHOD, {"order": order}, tracer=self.sink.tracer):
            await self._stub(order.encode(), **carry(timeout=10))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def reserve(self, request: bytes, context: Any) -> bytes:
        order = request.decode()
        self._seen(order)
        await self._client.set(order, "reserved")
        await self._pool.fetchval("select $1::text", order)
        async with self._engine.connect() as connection:
            await connection.execute(text("select count(*) from pg_class"))
        assert self._send is not None
        await self._send(order, request)
        return request

    async def ship(self, delivery: Delivery) -> None:
        order = delivery.message_id
        self._seen(order)
        await self._client.incrby("shipped", 1)
        self.shipped.add(order)

    @asynccontextmanager
    async def open(
        self, broker: str, redis_url: str, dsn: str, nats_url: str
    ) -> AsyncIterator[None]:
        """Start all of it."""
        tracer = self.sink.tracer
        async with AsyncExitStack() as stack:
            self._client = redis.asyncio.Redis.from_url(redis_url)
            stack.push_async_callback(self._client.aclose)
            await self._client.flushall()
            trace_commands(self._client, tracer=tracer)
            connected = traced_connection(tracer=tracer)
            self._pool = await stack.enter_async_context(
                asyncpg.create_pool(dsn, min_size=1, max_size=2, connection_class=connected)
            )
            self._engine = create_async_engine(
                dsn.replace("postgresql://", "postgresql+asyncpg://")
            )
            stack.push_async_callback(self._engine.dispose)
            async with self._engine.connect() as connection:  # asks for the server's version once
                await connection.execute(text("select 1"))
            trace_statements(self._engine, tracer=tracer)
            bus = (
                streams(self._client, self.sink)
                if broker == "redis"
                else jetstream(nats_url, self.sink)
            )
            subscription, self._send = await stack.enter_async_context(bus)
            handler = traced_handler(self.ship, "orders", broker, group="fulfilment", tracer=tracer)
            consumer = Consumer("orders", subscription, handler, pull_wait=0.2)
            await stack.enter_async_context(consumer)
            self._stub = await stack.enter_async_context(rpc(self.reserve, self.sink))
            self.port = await stack.enter_async_context(
                http(traced(guard(self.edge), tracer=tracer))
            )
            yield

    async def settled(self, orders: int) -> None:
        """Wait until so many are shipped, and no span is open."""
        async with asyncio.timeout(20):
            while len(self.shipped) < orders or self.sink.open:
                await asyncio.sleep(0.01)


def tree(broker: str) -> dict[str, Any]:
    """Return what one request must be."""
    below_send = {"process orders consumer": {"INCRBY client": {}}}
    if broker == "redis":
        below_send = {"XADD client": {}} | below_send
    below_server = {
        "SELECT client": {},
        "SELECT pg_class client": {},
        "SET client": {},
        "send orders producer": below_send,
    }
    return {"GET server": {f"{METHOD} client": {f"{METHOD} server": below_server}}}


@pytest.mark.parametrize("broker", ["redis", "nats"])
async def test_requests_at_once_are_a_tree_each(
    broker: str, redis_server: Any, postgres: Any, nats_server: Any
) -> None:
    """Twelve of them: all parents are right, every station saw its own trace, and nothing stays open."""
    sink = Sink()
    shop = Shop(sink)
    traces = {f"order-{n}": f"{n + 1:032x}" for n in range(12)}
    async with shop.open(broker, redis_server.url, postgres.url, nats_server.url):
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(get(shop.port, f"/orders/{order}", trace_id))
                for order, trace_id in traces.items()
            ]
        assert {one.result() for one in asked} == {b"204"}
        await shop.settled(12)
    for order, trace_id in traces.items():
        assert sink.tree(int(trace_id, 16)) == tree(broker), order
        assert shop.traces[order] == [trace_id] * 3
        mine = [
            one for one in sink.spans if one.context and one.context.trace_id == int(trace_id, 16)
        ]
        named = {
            attributes_of(one).get(key) for one in mine for key in ("order", "messaging.message.id")
        }
        assert named == {order, None}
    assert len(sink.spans) == 12 * (10 if broker == "redis" else 9)
    told = attributes_of(next(one for one in sink.spans if one.kind is SpanKind.CONSUMER))
    del told["messaging.message.id"]
    assert told == {
        "messaging.system": broker,
        "messaging.destination.name": "orders",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "fulfilment",
        "backstay.message.attempt": 1,
    }


async def test_each_attempt_is_a_span_and_failures_are_errors(redis_server: Any) -> None:
    """An error, a deadline, a cancel: each an attempt below the one who has published; the fourth succeeds."""
    sink = Sink()
    client: Any = redis.asyncio.Redis.from_url(redis_server.url)
    done = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            raise ValueError("not now")
        if delivery.attempt == 2:
            await asyncio.sleep(30)
        if delivery.attempt == 3:
            raise asyncio.CancelledError
        done.set()

    async with streams(client, sink) as (subscription, send):
        handler = traced_handler(handle, "orders", "redis", tracer=sink.tracer)
        redelivery = Redelivery(first=0.05)
        consumer = Consumer(
            "orders", subscription, handler, deadline=0.3, redelivery=redelivery, pull_wait=0.1
        )
        async with consumer:
            await send("one", b"")
            async with asyncio.timeout(20):
                await done.wait()
    await client.aclose()
    attempts = [one for one in sink.spans if one.kind is SpanKind.CONSUMER]
    assert [one.status.description for one in attempts] == [
        "ValueError", "CancelledError", "CancelledError", None,
    ]  # fmt: skip
    assert [attributes_of(one)["backstay.message.attempt"] for one in attempts] == [1, 2, 3, 4]
    assert {parent_of(one) for one in attempts} == {id_of(sink.one("send orders"))}
    assert sink.open == {}


async def test_a_link_begins_a_trace_of_its_own() -> None:
    """Which names the publisher's, and is the one that the handler sees; so is one without a publisher."""
    sink, seen = Sink(), []

    async def handle(delivery: Delivery) -> None:
        seen.append(TRACE.get())

    with span("around", tracer=sink.tracer):
        with publish_span("orders", "nats", tracer=sink.tracer) as headers:
            pass
        linked = traced_handler(handle, "orders", "nats", relation="link", tracer=sink.tracer)
        await linked(Delivery("1", "one", b"", headers=headers))
        child = traced_handler(handle, "orders", "nats", tracer=sink.tracer)
        await child(Delivery("2", "two", b"", headers={"traceparent": "nonsense"}))
    sent = sink.one("send orders")
    link, alone = [one for one in sink.spans if one.kind is SpanKind.CONSUMER]
    assert link.parent is alone.parent is None
    assert [one.context.span_id for one in link.links] == [id_of(sent)]
    assert alone.links == ()
    traces = [one.context.trace_id for one in (sent, link, alone) if one.context is not None]
    assert len(set(traces)) == 3
    assert seen == [f"{one:032x}" for one in traces[1:]]


async def test_what_is_not_published_is_an_error() -> None:
    """The producer's span ends with the block, and says what has left it."""
    sink = Sink()
    with pytest.raises(OSError), publish_span("orders", "nats", tracer=sink.tracer):
        raise OSError("no broker")
    one = sink.one("send orders", SpanKind.PRODUCER)
    assert (one.status.status_code, one.status.description) == (StatusCode.ERROR, "OSError")


async def test_without_an_sdk_a_message_travels_as_it_did() -> None:
    """The headers are what `identity_headers()` gives, and the handler is called as it is."""
    seen: list[Any] = []

    async def handle(delivery: Delivery) -> str:
        seen.append(TRACE.get())
        return "done"

    async with backstay.Scope("around", trace_id="4bf92f3577b34da6a3ce929d0e0e4736"):
        with publish_span("orders", "nats", {"mine": "1"}) as headers:
            plain = identity_headers()
    assert headers["mine"] == "1"
    assert set(headers) == {"mine", *plain}
    assert await traced_handler(handle, "orders", "nats")(Delivery("1", "one", b"")) == "done"
    assert seen == [None]
    parent = parse_traceparent(headers.get("traceparent", ""))
    assert parent is None or parent.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
