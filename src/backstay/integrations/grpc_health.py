"""The gRPC health checking protocol (`grpc.health.v1.Health`), answered by a `Readiness`.

Extra: ``pip install backstay[grpc]``. Tested with grpcio 1.85, and the messages of its own health.proto.

    serve_health(server, service.readiness, services=("shop.Orders",))

What it adds to `grpcio-health-checking`: no second flag that somebody has to move, and streams that end
when the service drains, so that they do not hold up the stop. The two messages are one field each, and are
written out here. (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
import grpc.aio

from backstay.lifecycle import Readiness

__all__ = ["serve_health"]

_SERVICE: Final = "grpc.health.v1.Health"
_SERVING: Final = 1
_NOT_SERVING: Final = 2
_SERVICE_UNKNOWN: Final = 3
_NAME_FIELD: Final = 0x0A  # field 1, with a length
_STATUS_FIELD: Final = 0x08  # field 1, a number
_LOOK_S: Final = 10.0  # a stream looks by itself as often, should a change have gone unheard

Context = grpc.aio.ServicerContext[Any, Any]


def serve_health(
    server: grpc.aio.Server, readiness: Readiness, *, services: Iterable[str] = ()
) -> None:
    """Answer `Check` and `Watch`; before `server.start()`.

    Args:
        server: of `grpc.aio`.
        readiness: what is told, for the server as a whole ("") and for each of `services`.
        services: full names, as "shop.Orders"; others are unknown.
    """
    servicer = _Servicer(readiness, frozenset(("", *services)))
    handlers = {
        "Check": grpc.unary_unary_rpc_method_handler(
            servicer.check, request_deserializer=_read_name, response_serializer=_write_status
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(
            servicer.watch, request_deserializer=_read_name, response_serializer=_write_status
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))


class _Servicer:
    def __init__(self, readiness: Readiness, services: frozenset[str]) -> None:
        self._readiness = readiness
        self._services = services

    def _status(self, name: str) -> int:
        if name not in self._services:
            return _SERVICE_UNKNOWN
        return _SERVING if self._readiness.ready else _NOT_SERVING

    async def check(self, name: str, context: Context) -> int:
        if name not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {name!r} is served here")
        return self._status(name)

    async def watch(self, name: str, context: Context) -> AsyncIterator[int]:
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        # The change may be made in any thread.
        end = self._readiness.on_change(lambda: loop.call_soon_threadsafe(changed.set))
        told = -1
        try:
            while True:
                changed.clear()
                status = self._status(name)
                if status != told:
                    told = status
                    yield status
                if self._readiness.draining:
                    return  # a stream that stayed would keep the server from stopping
                try:
                    async with asyncio.timeout(_LOOK_S):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            end()


def _read_name(data: bytes) -> str:
    """Read a HealthCheckRequest: the name of a service.

    Raises:
        ValueError: it is none.
    """
    at, name = 0, ""
    while at < len(data):
        tag, at = data[at], at + 1
        if tag != _NAME_FIELD:
            raise ValueError(f"a health check request has one field, not one with the tag {tag}")
        length, at = _number(data, at)
        word = data[at : at + length]
        if len(word) != length:
            raise ValueError("the name of the service is cut off")
        name, at = word.decode(), at + length
    return name


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 35:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise ValueError("a length is cut off")


def _write_status(status: int) -> bytes:
    """Write a HealthCheckResponse."""
    return bytes((_STATUS_FIELD, status))
