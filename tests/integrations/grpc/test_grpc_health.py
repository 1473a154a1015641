"""The gRPC health protocol on a real server, asked with the messages of its own .proto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from backstay.integrations.grpc_health import _read_name, serve_health
from backstay.lifecycle import Readiness

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]


def messages() -> tuple[Any, Any]:
    """Make the two messages of health.proto, as its authors wrote them, in a pool of our own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="health.proto", package="grpc.health.v1", syntax="proto3"
    )
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=9, label=1)
    response = file.message_type.add(name="HealthCheckResponse")
    statuses = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        statuses.value.add(name=name, number=number)
    response.field.add(
        name="status",
        number=1,
        type=14,
        label=1,
        type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return tuple(
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.health.v1.{name}"))
        for name in ("HealthCheckRequest", "HealthCheckResponse")
    )  # type: ignore[return-value]


REQUEST, RESPONSE = messages()


@asynccontextmanager
async def serving(readiness: Readiness) -> AsyncIterator[tuple[grpc.aio.Server, Any, Any]]:
    """Serve, and yield the server and the two methods of a client."""
    server = grpc.aio.server()
    serve_health(server, readiness, services=("shop.Orders",))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        options = {
            "request_serializer": REQUEST.SerializeToString,
            "response_deserializer": RESPONSE.FromString,
        }
        yield (
            server,
            channel.unary_unary("/grpc.health.v1.Health/Check", **options),
            channel.unary_stream("/grpc.health.v1.Health/Watch", **options),
        )
    await server.stop(0)


async def test_check_follows_the_readiness() -> None:
    """For the server as a whole and for a named service; a stranger is NOT_FOUND."""
    readiness = Readiness()
    async with serving(readiness) as (_, check, _watch):
        assert (await check(REQUEST())).status == 2
        readiness.succeed()
        assert (await check(REQUEST())).status == 1
        assert (await check(REQUEST(service="shop.Orders"))).status == 1
        readiness.hold("health", "database down")
        assert (await check(REQUEST(service="shop.Orders"))).status == 2
        with pytest.raises(grpc.aio.AioRpcError, match=r"no service 'shop\.Nothing'") as caught:
            await check(REQUEST(service="shop.Nothing"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watch_tells_each_change_at_once_and_ends_with_the_service() -> None:
    """From another thread too; a drain is the last word, so that the server can stop in no time."""
    readiness = Readiness()
    loop = asyncio.get_running_loop()
    async with serving(readiness) as (server, _check, watch):
        heard: list[int] = []
        call = watch(REQUEST())

        async def listen() -> None:
            async for answer in call:
                heard.append(answer.status)

        listening = loop.create_task(listen())

        async def until(count: int) -> None:
            async with asyncio.timeout(5):
                while len(heard) < count:
                    await asyncio.sleep(0.005)

        await until(1)
        readiness.succeed()
        await until(2)
        await asyncio.to_thread(readiness.hold, "health", "database down")
        await until(3)
        readiness.release("health")
        await until(4)
        readiness.drain("draining")
        async with asyncio.timeout(5):
            await listening
        assert heard == [2, 1, 2, 1, 2]
        began = loop.time()
        await server.stop(10)
        assert loop.time() - began < 2


async def test_a_watch_that_is_left_stops_listening() -> None:
    """Many clients come and go: nothing of them stays with the readiness."""
    readiness = Readiness()
    readiness.succeed()
    async with serving(readiness) as (_, _check, watch):
        unknown = watch(REQUEST(service="shop.Nothing"))
        assert (await unknown.read()).status == 3
        calls = [watch(REQUEST()) for _ in range(20)]
        for call in calls:
            assert (await call.read()).status == 1
        assert len(readiness._listeners) == 21
        for call in (*calls, unknown):
            call.cancel()
        async with asyncio.timeout(5):
            while readiness._listeners:
                await asyncio.sleep(0.01)


def test_requests_are_read_as_protobuf_writes_them() -> None:
    """Names of any length, and none; bytes that are no request are refused."""
    for name in ("", "a", "shop.Orders", "ü" * 100, "x" * 20_000):
        assert _read_name(REQUEST(service=name).SerializeToString()) == name
    for data in (b"\x0a", b"\x0a\x05abc", b"\x10\x01", b"\x0a\xff\xff\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match=r"cut off|one field"):
            _read_name(data)
