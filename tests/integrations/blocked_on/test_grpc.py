"""Conformance: what waiting inside grpc.aio is called, on the client's and on the server's side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from backstay.tasks._blocked_on import blocked_on

Stack = contextlib.AsyncExitStack


async def _unary(request: bytes, context: Any) -> bytes:
    await asyncio.sleep(100)
    return b""


async def _stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"first"
    await asyncio.sleep(100)


async def _both(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield b"answer"


async def _read(requests: Any, context: Any) -> None:
    await context.read()


async def _server(stack: Stack) -> tuple[grpc.aio.Server, grpc.aio.Channel]:
    server = grpc.aio.server()
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.unary_stream_rpc_method_handler(_stream),
        "Both": grpc.stream_stream_rpc_method_handler(_both),
        "Read": grpc.stream_stream_rpc_method_handler(_read),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Stock", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def stop() -> None:
        # Cancelling wait_for_termination() leaves a cancelled future inside the server, which stop() trips over.
        with contextlib.suppress(asyncio.CancelledError):
            await server.stop(0)

    stack.push_async_callback(stop)
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    return server, channel


async def unary(stack: Stack) -> None:
    _, channel = await _server(stack)
    await channel.unary_unary("/shop.Stock/Unary")(b"")


async def stream_iterate(stack: Stack) -> None:
    _, channel = await _server(stack)
    async for _ in channel.unary_stream("/shop.Stock/Stream")(b""):
        pass


async def stream_read(stack: Stack) -> None:
    _, channel = await _server(stack)
    call = channel.unary_stream("/shop.Stock/Stream")(b"")
    await call.read()
    await call.read()


async def stream_both(stack: Stack) -> None:
    _, channel = await _server(stack)
    call = channel.stream_stream("/shop.Stock/Both")()
    await call.write(b"")
    while True:
        await call.read()


async def status(stack: Stack) -> None:
    _, channel = await _server(stack)
    await channel.unary_unary("/shop.Stock/Unary")(b"").code()


async def channel_ready(stack: Stack) -> None:
    channel = await stack.enter_async_context(grpc.aio.insecure_channel("127.0.0.1:1"))
    await channel.channel_ready()


async def wait_for_termination(stack: Stack) -> None:
    server, _ = await _server(stack)
    await server.wait_for_termination()


@pytest.mark.parametrize(
    ("scenario", "label"),
    [
        (unary, "grpc unary call"),
        (stream_iterate, "grpc stream recv"),
        (stream_read, "grpc stream recv"),
        (stream_both, "grpc stream recv"),
        (status, "grpc status"),
        (channel_ready, "grpc connect"),
        (wait_for_termination, "grpc server wait"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_label(classify: Any, scenario: Any, label: str) -> None:
    """Each way to wait in grpc.aio, compiled code at the end of the chain included, has its name."""
    seen = classify(scenario, label)
    assert (seen.kind, seen.label) == ("grpc", label)
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_server_side(classify: Any) -> None:
    """The server's own tasks are named, and a handler is seen down to its own await."""

    async def call(stack: Stack) -> None:
        _, channel = await _server(stack)
        asking = channel.unary_unary("/shop.Stock/Unary")(b"")
        reading = channel.stream_stream("/shop.Stock/Read")()
        stack.callback(reading.cancel)
        await asyncio.sleep(0.3)
        found = [seen for task in asyncio.all_tasks() if (seen := blocked_on(task))]
        labels = {seen.label for seen in found}
        assert {"grpc next call", "grpc client cancel watch", "grpc stream recv"} <= labels, labels
        handlers = [
            seen for seen in found if seen.label == "sleep" and seen.site.startswith(__file__)
        ]
        assert handlers, found
        await asking

    assert classify(call, "grpc unary call").kind == "grpc"
