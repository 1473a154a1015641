"""Promise: a span costs a fraction of what the contrib instrumentation takes for the same operation.

In one process, in interleaved rounds, for gRPC (client and server), redis-py, asyncpg and SQLAlchemy: the bare call, the
call with our adapter and no SDK, with our adapter, and with the instrumentation that OpenTelemetry ships. For
messages, which have none, the two spans that somebody writes by hand with the SDK. Every span is recorded, and thrown
away by the exporter. What is compared is the CPU of this process for each operation above that of the bare one; Redis and
PostgreSQL are real, and their own CPU does not count.

Beside that, what our adapters cost where nothing is traced: `carry()` and `ServerGuard` on a call of gRPC, and
the deadline that a transaction tells the server, as it comes and where there is none.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

import backstay
from benchmarks.rounds import Figure, low
from benchmarks.shared_rate import load_services
from benchmarks.tracing import to_nowhere

ROUNDS = 40
TIMES = 60  # operations of a round

METHOD = "bench.Echo/Say"
QUERY = "select relname from pg_class where oid = "


@dataclass(frozen=True)
class Variant:
    """One way to do an operation.

    Attributes:
        once: does it.
        around: a block for a whole round: a span to be below, a class that is patched.
    """

    once: Callable[[], Awaitable[object]]
    around: Callable[[], AbstractContextManager[object]] = nullcontext


Variants = dict[str, Variant]


async def _compare(variants: Variants) -> dict[str, float]:
    """Return the CPU of each variant for an operation, in seconds."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, variant in variants.items():
            with variant.around():
                await variant.once()
                before = time.process_time()
                for _ in range(TIMES):
                    await variant.once()
                samples[name].append((time.process_time() - before) / TIMES)
    return {name: low(values) for name, values in samples.items()}


@contextmanager
def _instrumented(instrumentor: Any, **options: Any) -> Any:
    """Patch what the contrib instrumentation patches, for the length of a round."""
    instrumentor.instrument(**options)
    try:
        yield
    finally:
        instrumentor.uninstrument()


@contextmanager
def _both(*blocks: Any) -> Any:
    with blocks[0], blocks[1]:
        yield


# -- gRPC ----------------------------------------------------------------------------


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: Any) -> Any:
        async def say(request: bytes, context: Any) -> bytes:
            return request

        return grpc.unary_unary_rpc_method_handler(say)


@asynccontextmanager
async def _stub(served_by: list[Any], called_by: list[Any] | None = None) -> AsyncIterator[Any]:
    server = grpc.aio.server(interceptors=served_by)
    server.add_generic_rpc_handlers((_Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=called_by) as channel:
        yield channel.unary_unary(f"/{METHOD}")
    await server.stop(0)


async def _grpc(provider: Any) -> dict[str, float]:
    from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor

    from backstay.integrations.grpc import ServerGuard, carry
    from backstay.integrations.opentelemetry import span
    from backstay.integrations.opentelemetry_grpc import CallTracer, call_span

    tracer = provider.get_tracer("bench")

    def called(stub: Any, **options: Any) -> Callable[[], Awaitable[object]]:
        async def once() -> None:
            with call_span(METHOD, **options):
                await stub(b"", **carry(timeout=5))

        return once

    def within() -> Any:
        return span("round", tracer=tracer)

    contrib = aio_client_interceptors(tracer_provider=provider)
    async with (
        _stub([]) as bare,
        _stub([ServerGuard()]) as guarded,
        _stub([CallTracer()]) as silent,
        _stub([CallTracer(tracer=tracer)]) as traced,
        _stub([CallTracer(tracer=tracer), ServerGuard()]) as both,
        _stub([aio_server_interceptor(tracer_provider=provider)], contrib) as theirs,
    ):
        return await _compare(
            {
                "bare": Variant(lambda: bare(b"", timeout=5)),
                "adapter": Variant(lambda: guarded(b"", **carry(timeout=5))),
                "silent": Variant(called(silent)),
                "ours": Variant(called(traced, tracer=tracer), within),
                "ours, guarded": Variant(called(both, tracer=tracer), within),
                "contrib": Variant(lambda: theirs(b"", timeout=5), within),
            }
        )


# -- stores --------------------------------------------------------------------------


async def _redis(provider: Any, url: str) -> dict[str, float]:
    import redis.asyncio
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    from backstay.integrations.opentelemetry import span
    from backstay.integrations.opentelemetry_redis import trace_commands

    tracer = provider.get_tracer("bench")
    bare, silent, ours, theirs = clients = [redis.asyncio.Redis.from_url(url) for _ in range(4)]
    trace_commands(silent)
    trace_commands(ours, tracer=tracer)
    RedisInstrumentor.instrument_client(theirs, tracer_provider=provider)

    def within() -> Any:
        return span("round", tracer=tracer)

    try:
        return await _compare(
            {
                "bare": Variant(lambda: bare.get("key")),
                "silent": Variant(lambda: silent.get("key")),
                "ours": Variant(lambda: ours.get("key"), within),
                "contrib": Variant(lambda: theirs.get("key"), within),
            }
        )
    finally:
        for client in clients:
            await client.aclose()


async def _asyncpg(provider: Any, url: str) -> dict[str, float]:
    import asyncpg
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor

    from backstay.integrations.asyncpg import transaction
    from backstay.integrations.opentelemetry import span
    from backstay.integrations.opentelemetry_asyncpg import traced_connection

    tracer = provider.get_tracer("bench")
    contrib = AsyncPGInstrumentor()
    classes = (asyncpg.Connection, traced_connection(), traced_connection(tracer=tracer))
    connections = [await asyncpg.connect(url, connection_class=one) for one in classes]
    bare, silent, ours = connections

    def ask(connection: Any) -> Callable[[], Awaitable[object]]:
        return lambda: connection.fetchval(QUERY + "$1", 1259)

    async def plain() -> None:
        async with bare.transaction():
            await bare.fetchval(QUERY + "$1", 1259)

    async def limited() -> None:
        async with transaction(bare) as connection:
            await connection.fetchval(QUERY + "$1", 1259)

    async def told() -> None:
        async with backstay.timeout(5), transaction(bare) as connection:
            await connection.fetchval(QUERY + "$1", 1259)

    def within() -> Any:
        return span("round", tracer=tracer)

    def patched() -> Any:
        return _both(_instrumented(contrib, tracer_provider=provider), within())

    try:
        return await _compare(
            {
                "bare": Variant(ask(bare)),
                "silent": Variant(ask(silent)),
                "ours": Variant(ask(ours), within),
                "contrib": Variant(ask(bare), patched),
                "transaction": Variant(plain),
                "adapter": Variant(limited),
                "adapter, told": Variant(told),
            }
        )
    finally:
        for connection in connections:
            await connection.close()


async def _sqlalchemy(provider: Any, url: str) -> dict[str, float]:
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    from backstay.integrations.opentelemetry import span
    from backstay.integrations.opentelemetry_sqlalchemy import trace_statements
    from backstay.integrations.sqlalchemy import limit_statements

    tracer = provider.get_tracer("bench")
    contrib = SQLAlchemyInstrumentor()
    address = url.replace("postgresql://", "postgresql+asyncpg://")
    engines = [create_async_engine(address, pool_size=1) for _ in range(5)]
    bare, silent, ours, theirs, limited = engines
    trace_statements(silent)
    trace_statements(ours, tracer=tracer)
    limit_statements(limited)
    statement = text(QUERY + ":oid")

    def ask(engine: Any) -> Callable[[], Awaitable[object]]:
        async def once() -> None:
            async with engine.begin() as connection:
                await connection.execute(statement, {"oid": 1259})

        return once

    async def told() -> None:
        async with backstay.timeout(5):
            await ask(limited)()

    def within() -> Any:
        return span("round", tracer=tracer)

    def patched() -> Any:
        options = {"engine": theirs.sync_engine, "tracer_provider": provider}
        options["skip_dep_check"] = True  # it knows no SQLAlchemy of today, and works with it
        return _both(_instrumented(contrib, **options), within())

    try:
        return await _compare(
            {
                "bare": Variant(ask(bare)),
                "silent": Variant(ask(silent)),
                "ours": Variant(ask(ours), within),
                "contrib": Variant(ask(theirs), patched),
                "transaction": Variant(ask(bare)),
                "adapter": Variant(ask(limited)),
                "adapter, told": Variant(told),
            }
        )
    finally:
        for engine in engines:
            await engine.dispose()


# -- messages ------------------------------------------------------------------------


async def _messages(provider: Any) -> dict[str, float]:
    """Publish to a handler that is called at once: what is measured is the two spans and the headers."""
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    from backstay.integrations.opentelemetry import span
    from backstay.integrations.opentelemetry_messages import publish_span, traced_handler
    from backstay.lifecycle import Delivery

    tracer = provider.get_tracer("bench")

    async def handle(delivery: Delivery) -> None: ...

    async def bare() -> None:
        await handle(Delivery("1", "1", b""))

    def ours(**options: Any) -> Callable[[], Awaitable[object]]:
        handler = traced_handler(handle, "orders", "nats", group="g", **options)

        async def once() -> None:
            with publish_span("orders", "nats", message_id="1", **options) as headers:
                pass
            await handler(Delivery("1", "1", b"", headers=headers))

        return once

    told = {"messaging.system": "nats", "messaging.destination.name": "orders"}
    told |= {"messaging.operation.name": "send", "messaging.operation.type": "send"}
    told |= {"messaging.message.id": "1"}

    async def by_hand() -> None:
        headers: dict[str, str] = {}
        with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER, attributes=told):
            propagate.inject(headers)
        delivery = Delivery("1", "1", b"", headers=headers)
        parent = propagate.extract(delivery.headers)
        with tracer.start_as_current_span(
            "process", context=parent, kind=SpanKind.CONSUMER, attributes=told
        ):
            await handle(delivery)

    def within() -> Any:
        return span("round", tracer=tracer)

    return await _compare(
        {
            "bare": Variant(bare),
            "silent": Variant(ours()),
            "ours": Variant(ours(tracer=tracer), within),
            "contrib": Variant(by_hand, within),
        }
    )


# -- figures -------------------------------------------------------------------------


def _figures(name: str, cost: dict[str, float], peer: str = "contrib") -> list[Figure]:
    """Say of one library: the span against theirs, the span and the silence against the bare operation."""
    bare = cost["bare"]
    above = {way: (cost[way] - bare) * 1e6 for way in cost if way in _SPANS}
    note = f"{peer} +{above['contrib']:.0f} µs, ours +{above['ours']:.0f} µs, bare {bare * 1e6:.0f} µs of CPU"
    ratio = above["ours"] / above["contrib"]
    return [
        Figure(f"tracing.{name}", ratio, "x", note, {way: cost[way] / bare for way in above}),
        Figure(f"tracing.{name}.of_bare", cost["ours"] / bare, "x", "a recorded one to a bare one"),
        Figure(f"tracing.{name}.silent", cost["silent"] / bare, "x", "traced, without an SDK"),
    ]


_SPANS = ("silent", "ours", "ours, guarded", "contrib")


def _adapter(name: str, cost: dict[str, float], bare: str, note: str) -> list[Figure]:
    figures = [Figure(f"adapter.{name}", cost["adapter"] / cost[bare], "x", note)]
    if "adapter, told" in cost:
        value = cost["adapter, told"] / cost[bare]
        figures.append(Figure(f"adapter.{name}.told", value, "x", "with a deadline around it"))
    return figures


def measure() -> list[Figure]:
    """Return what spans and adapters cost; without a server what can be had without it."""
    provider = to_nowhere()
    calls = asyncio.run(_grpc(provider))
    figures = _figures("grpc", calls)
    figures += _adapter("grpc", calls, "bare", "carry() and ServerGuard to a bare call, both sides")
    messages = _figures("messages", asyncio.run(_messages(provider)), "by hand")
    figures += [
        one for one in messages if one.name == "tracing.messages"
    ]  # bare is next to nothing
    services = load_services()
    for kind in (services.RedisServer, services.PostgresServer):
        with tempfile.TemporaryDirectory() as folder:
            server = kind(Path(folder) / "server")
            try:
                server.start()
            except services.Missing as missing:
                print(f"not measured: no real {server.name}: {missing}", file=sys.stderr)
                continue
            try:
                figures += _of_server(provider, server)
            finally:
                server.stop()
    provider.shutdown()
    return figures


def _of_server(provider: Any, server: Any) -> list[Figure]:
    if server.name == "redis":
        return _figures("redis", asyncio.run(_redis(provider, server.url)))
    figures: list[Figure] = []
    for name, run in (("asyncpg", _asyncpg), ("sqlalchemy", _sqlalchemy)):
        cost = asyncio.run(run(provider, server.url))
        figures += _figures(name, cost)
        figures += _adapter(
            name, cost, "transaction", "a transaction with our deadline, none around it"
        )
    return figures
