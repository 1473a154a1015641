"""gRPC as the shop uses it: the options that work, one way to connect, one way to listen.

Why no client interceptors: grpc.aio runs every intercepted call in a task of its own; a time-out
passed with the call costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc.aio

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    # A hung peer is noticed by the ping time-out alone; grpc.keepalive_timeout_ms has no effect.
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
SERVER_OPTIONS: list[tuple[str, int]] = [
    # Must allow the pings above, or the server answers them with "too many pings".
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # A second process on the same port is a mistake, not a load balancer.
    ("grpc.so_reuseport", 0),
]

RpcError = grpc.aio.AioRpcError
"""What a call raises when the peer is away, refuses or does not answer in time."""


def connect(address: str) -> grpc.aio.Channel:
    """Open a channel; it connects by itself and again after a loss.

    Args:
        address: host:port.

    Returns:
        The channel; close it on shutdown.
    """
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


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
    server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=at_once)
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
