"""Spans of commands and statements, against real servers: one each, below the current one, without values."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import redis.asyncio
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from recorded_spans import Sink, attributes_of, id_of, parent_of
from redis.exceptions import ResponseError, WatchError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import backstay
from backstay.errors import UsageError
from backstay.integrations.opentelemetry import span
from backstay.integrations.opentelemetry_asyncpg import traced_connection
from backstay.integrations.opentelemetry_redis import trace_commands
from backstay.integrations.opentelemetry_sqlalchemy import trace_statements

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

SECRET = "tell-nobody"


@asynccontextmanager
async def redis_client(server: Any) -> AsyncIterator[Any]:
    client: Any = redis.asyncio.Redis.from_url(server.url)
    try:
        await client.flushall()
        yield client
    finally:
        await client.aclose()
        del client
        gc.collect()  # a client that is traced is in a ring with what traces it


@asynccontextmanager
async def engine_of(postgres: Any, driver: str = "asyncpg") -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(postgres.url.replace("postgresql://", f"postgresql+{driver}://"))
    try:
        yield engine
    finally:
        await engine.dispose()


def names(sink: Sink) -> list[str]:
    """Return the names of what was recorded below the test's own span."""
    return [one.name for one in sink.spans if one.name != "around"]


def check_leaves(sink: Sink) -> None:
    """Each is of kind "client" and directly below the one span around; nothing is open, and nothing is told."""
    around = sink.one("around")
    for one in sink.spans:
        if one is not around:
            assert parent_of(one) == id_of(around), one.name
            assert one.kind is SpanKind.CLIENT
            assert one.start_time is not None
            assert one.end_time is not None
            assert one.start_time <= one.end_time
        assert SECRET not in one.to_json()
    assert sink.open == {}


async def test_a_command_is_a_span(redis_server: Any) -> None:
    """By its name and its server, without keys and values; scripts of two words as well."""
    sink = Sink()
    async with redis_client(redis_server) as client:
        trace_commands(client, tracer=sink.tracer)
        with span("around", tracer=sink.tracer):
            await client.set(SECRET, SECRET)
            assert await client.get(SECRET) == SECRET.encode()
            await client.client_id()
            await client.execute_command("get", SECRET)
    check_leaves(sink)
    assert names(sink) == ["SET", "GET", "CLIENT ID", "GET"]
    assert attributes_of(sink.one("SET")) == {
        "db.system.name": "redis",
        "db.operation.name": "SET",
        "db.namespace": "0",
        "server.address": "127.0.0.1",
        "server.port": redis_server.port,
    }


async def test_a_pipeline_is_one_span(redis_server: Any) -> None:
    """As a transaction and as none; what goes before a MULTI is told by itself, and an empty one not at all."""
    sink = Sink()
    async with redis_client(redis_server) as client:
        trace_commands(client, tracer=sink.tracer)
        with span("around", tracer=sink.tracer):
            async with client.pipeline(transaction=False) as pipe:
                assert await pipe.execute() == []
                assert await pipe.set("a", 1).get("a").execute() == [True, b"1"]
            async with client.pipeline() as pipe:
                await pipe.watch("a")
                await pipe.get("a")
                pipe.multi()
                assert await pipe.incr("a").execute() == [2]
                await pipe.watch("a")
                await client.set("a", 7)
                pipe.multi()
                with pytest.raises(WatchError):
                    await pipe.incr("a").execute()
    check_leaves(sink)
    assert names(sink) == ["PIPELINE", "WATCH", "GET", "MULTI", "WATCH", "SET", "MULTI"]
    assert attributes_of(sink.one("PIPELINE"))["db.operation.batch.size"] == 2
    assert [one.status.description for one in sink.spans if one.name == "MULTI"] == [
        None,
        "WatchError",
    ]


async def test_errors_and_cancels_of_commands(redis_server: Any) -> None:
    """Both make the span an error, and neither leaves it open."""
    sink = Sink()
    async with redis_client(redis_server) as client:
        trace_commands(client, tracer=sink.tracer)
        await client.set("a", "text")
        with span("around", tracer=sink.tracer):
            with pytest.raises(ResponseError):
                await client.lpush("a", SECRET)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.blpop("nothing", 5)
    check_leaves(sink)
    found = [(one.name, one.status.status_code, one.status.description) for one in sink.spans[:2]]
    assert found == [
        ("LPUSH", StatusCode.ERROR, "ResponseError"),
        ("BLPOP", StatusCode.ERROR, "CancelledError"),
    ]
    assert attributes_of(sink.one("LPUSH"))["error.type"] == "ResponseError"


async def test_a_client_is_traced_once_until_that_is_taken_back(redis_server: Any) -> None:
    """Twice is a mistake; taken back, it is as it was; another client never is."""
    sink = Sink()
    async with redis_client(redis_server) as client, redis_client(redis_server) as other:
        before = set(vars(client))
        forget = trace_commands(client, tracer=sink.tracer, roots=True)
        with pytest.raises(UsageError, match="traced already"):
            trace_commands(client, tracer=sink.tracer)
        await client.get("a")
        await other.get("a")
        forget()
        await client.get("a")
        async with client.pipeline() as pipe:
            await pipe.get("a").execute()
        assert set(vars(client)) == before
    assert names(sink) == ["GET"]
    assert sink.spans[0].parent is None


@pytest.mark.parametrize("options", [{}, {"sampler": ALWAYS_OFF}])
async def test_nothing_is_recorded_outside_of_a_trace(
    redis_server: Any, postgres: Any, options: Any
) -> None:
    """Nor below a span that was not sampled, nor without an SDK."""
    sink = Sink(**options)
    async with redis_client(redis_server) as client, engine_of(postgres) as engine:
        forget = trace_commands(client, tracer=sink.tracer)
        taken_back = trace_statements(engine, tracer=sink.tracer)
        traced = traced_connection(tracer=sink.tracer)
        connection = await asyncpg.connect(postgres.url, connection_class=traced)

        async def work() -> None:
            await client.get("a")
            await client.pipeline().get("a").execute()
            await connection.fetchval("select 1")
            async with engine.begin() as one:
                await one.execute(text("select 1"))

        if options:
            with span("around", tracer=sink.tracer):
                await work()
        else:
            await work()
        forget()
        taken_back()
        trace_commands(client, roots=True)  # of the global provider, and there is none
        trace_statements(engine, roots=True)
        await work()
        with span("no SDK"):
            await work()
        await connection.close()
    assert sink.spans == ()
    assert sink.open == {}


async def test_a_query_of_asyncpg_is_a_span(postgres: Any) -> None:
    """By operation and table; with its text, without values, however it is asked."""
    sink = Sink()
    traced = traced_connection(tracer=sink.tracer)
    async with asyncpg.create_pool(
        postgres.url, min_size=1, max_size=2, connection_class=traced
    ) as pool:
        await pool.execute("create table if not exists stock (sku text primary key, n int)")
        await pool.execute("truncate stock")
        async with pool.acquire() as connection:
            with span("around", tracer=sink.tracer):
                await connection.execute(f"insert into stock values ('{SECRET}', 4711)")
                await connection.executemany(
                    "insert into stock values ($1, $2)", [(f"{SECRET}{n}", n) for n in range(3)]
                )
                query = "select n from stock where sku = $1 /* mine */"
                assert await connection.fetchval(query, SECRET) == 4711
                async with connection.transaction():
                    await connection.fetch("select 1 from stock")
                assert await connection.fetchrow(query="select n from stock where false") is None
    check_leaves(sink)
    assert names(sink) == [
        "INSERT stock", "INSERT stock", "SELECT stock", "BEGIN", "SELECT stock", "COMMIT", "SELECT stock",
    ]  # fmt: skip
    assert attributes_of(sink.spans[2]) == {
        "db.system.name": "postgresql",
        "db.operation.name": "SELECT",
        "db.query.summary": "SELECT stock",
        "db.query.text": "select n from stock where sku = $1",
        "db.namespace": postgres.url.rsplit("/", 1)[1],
        "server.address": "127.0.0.1",
        "server.port": postgres.port,
    }
    assert attributes_of(sink.spans[0])["db.query.text"] == "insert into stock values (?, ?)"


async def test_errors_and_cancels_of_queries(postgres: Any) -> None:
    """With the server's code for an error; in the time that it took."""
    sink = Sink()
    traced = traced_connection(tracer=sink.tracer)
    connection = await asyncpg.connect(postgres.url, connection_class=traced)
    with span("around", tracer=sink.tracer):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("select 1 / $1::int", 0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.fetchval("select pg_sleep(5)")
    await connection.close()
    check_leaves(sink)
    wrong, cut = [one for one in sink.spans if one.name == "SELECT"]
    assert attributes_of(wrong)["db.response.status_code"] == "22012"
    assert wrong.status.description == attributes_of(wrong)["error.type"] == "DivisionByZeroError"
    assert (cut.status.status_code, cut.status.description) == (StatusCode.ERROR, "CancelledError")
    assert cut.start_time is not None
    assert cut.end_time is not None
    assert 0.15e9 < cut.end_time - cut.start_time < 2e9


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_statement_of_sqlalchemy_is_a_span(postgres: Any, driver: str) -> None:
    """By operation and table; batches with their size; errors with the server's code; cancels."""
    sink = Sink()
    async with engine_of(postgres, driver) as engine:
        async with engine.begin() as connection:
            await connection.execute(text("drop table if exists orders"))
            await connection.execute(text("create table orders (id int primary key, who text)"))
        trace_statements(engine, tracer=sink.tracer)
        insert = text("insert into orders values (:id, :who)")
        with span("around", tracer=sink.tracer):
            async with engine.begin() as connection:
                await connection.execute(insert, {"id": 1, "who": SECRET})
                await connection.execute(insert, [{"id": n, "who": SECRET} for n in (2, 3)])
                found = await connection.execute(text("select who from orders where id = 1"))
                assert found.scalar_one() == SECRET
            with pytest.raises(IntegrityError):
                async with engine.begin() as connection:
                    await connection.execute(insert, {"id": 1, "who": SECRET})
            with pytest.raises((TimeoutError, DBAPIError)):
                async with asyncio.timeout(0.2), engine.connect() as connection:
                    await connection.execute(text("select pg_sleep(5)"))
    check_leaves(sink)
    assert names(sink) == [
        "INSERT orders", "INSERT orders", "SELECT orders", "INSERT orders", "SELECT",
    ]  # fmt: skip
    one, batch, select, double, cut = sink.spans[:5]
    assert attributes_of(batch)["db.operation.batch.size"] == 2
    told = attributes_of(select)
    assert told["db.query.text"] == "select who from orders where id = ?"
    assert (told["db.system.name"], told["server.port"]) == ("postgresql", postgres.port)
    assert "db.operation.batch.size" not in attributes_of(one)
    assert attributes_of(double)["db.response.status_code"] == "23505"
    assert {one.status.status_code for one in (one, batch, select)} == {StatusCode.UNSET}
    assert {one.status.status_code for one in (double, cut)} == {StatusCode.ERROR}
    assert cut.status.description == "CancelledError"


async def test_work_at_once_is_never_mixed(redis_server: Any, postgres: Any) -> None:
    """Twenty tasks on few connections: each span is below that of the task which has asked."""
    sink = Sink()
    traced = traced_connection(tracer=sink.tracer)
    async with (
        redis_client(redis_server) as client,
        engine_of(postgres) as engine,
        asyncpg.create_pool(postgres.url, min_size=2, max_size=2, connection_class=traced) as pool,
    ):
        async with engine.connect():
            pass  # the first time SQLAlchemy has questions of its own
        trace_commands(client, tracer=sink.tracer)
        trace_statements(engine, tracer=sink.tracer)

        async def work(number: int) -> None:
            with span(f"task {number}", tracer=sink.tracer):
                await client.set(f"k{number}", number)
                await pool.fetchval("select $1::int", number)
                async with engine.connect() as connection:
                    await connection.execute(text(f"select 1 as who{number}"))
                await client.pipeline().get("a").execute()

        async with backstay.Scope("work") as scope:
            for number in range(20):
                scope.go(work, number)
    for number in range(20):
        around = sink.one(f"task {number}")
        below = [one for one in sink.spans if parent_of(one) == id_of(around)]
        kinds = [one.name for one in below]
        assert sorted(kinds) == ["MULTI", "SELECT", "SELECT", "SET"], kinds
        texts = {attributes_of(one).get("db.query.text") for one in below}
        assert f"select ? as who{number}" in texts
    assert sink.open == {}
