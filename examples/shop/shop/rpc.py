"""gRPC as the shop uses it: one way to connect, one way to listen.

Why no client interceptors: grpc.aio runs every intercepted call in a task of its own; a time-out
passed with the call costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc.aio

from backstay.integrations.grpc import channel_options, server_options

RpcError = grpc.aio.AioRpcError
"""What a call raises when the peer is away, refuses or does not answer in time."""


def connect(address: str) -> grpc.aio.Channel:
    """Open a channel; it connects by itself and again after a loss.

    Args:
        address: host:port.

    Returns:
        The channel; close it on shutdown.
    """
    return grpc.aio.insecure_channel(address, options=channel_options())


async def listen(
    address: str, register: Callable[[grpc.aio.Server], None], *, at_once: int | None
) -> grpc.aio.Server:
    """Start a gRPC server.

    Args:
        address: host:port to listen on.
        register: adds the servicer to the server.
        at_once: calls handled at the same time; more are refused with RESOURCE_EXHAUSTED.
            None has no limit.

    Returns:
        The started server; `await server.stop(grace)` ends it.

    Raises:
        RuntimeError: the address is taken.
    """
    server = grpc.aio.server(options=server_options(), maximum_concurrent_rpcs=at_once)
    register(server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise RuntimeError(
            f"cannot listen on {address}: {error}; choose another SHOP_LISTEN"
        ) from error
    if port == 0:
        raise RuntimeError(
            f"cannot listen on {address}: the port is taken; choose another SHOP_LISTEN"
        )
    await server.start()
    return server


async def serve_until_stopped(server: grpc.aio.Server, grace_s: float | None) -> None:
    """Serve until the caller is cancelled, then take no new call and let the others finish.

    Args:
        server: from `listen`.
        grace_s: seconds for the calls in flight, which are cut off after that.
    Cancelled: the usual way out; the server has stopped when the cancellation goes on.
    """
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop(grace_s)
