"""How a handler of grpc.aio gets something around it, whatever its kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, cast

import grpc
import grpc.aio

__all__ = ["rewrapped"]

# Seconds. When a client has gone grpc fails the write first and cancels the call's task right after it (measured:
# within a millisecond, grpcio 1.85): the cancel is to strike here, and not in the clean-up of the handler.
_CANCEL_COMES_S = 1.0


def rewrapped(
    handler: grpc.RpcMethodHandler[Any, Any], around: Callable[[Any], Any]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler with its function wrapped; itself when that is not async and runs in grpc's thread pool.

    Args:
        handler: of one method.
        around: wraps an async function of request and context, which returns its reply or writes its replies to
            the context. A function that yields them is made one that writes them.
    """
    parts = cast("Any", handler)
    asks = "stream" if parts.request_streaming else "unary"
    kind = f"{asks}_{'stream' if parts.response_streaming else 'unary'}"
    function = getattr(parts, kind)
    if isasyncgenfunction(function):
        wrapped = around(_writing(function))
    elif iscoroutinefunction(function):
        wrapped = around(function)
    else:
        return handler
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return cast(
        "grpc.RpcMethodHandler[Any, Any]",
        make(wrapped, parts.request_deserializer, parts.response_serializer),
    )


def _writing(function: Callable[[Any, Any], AsyncGenerator[Any]]) -> Any:
    """Return a handler that writes what `function` yields, and closes it in the task and the scope of the call.

    grpc leaves a generator where it stands when a call is cut while a reply is sent: its clean-up then runs in a
    task of the loop's own, which nobody owns and no server waits for.
    """

    async def serve(request: Any, context: Any) -> None:
        async with aclosing(function(request, context)) as replies:
            async for reply in replies:
                try:
                    await context.write(reply)
                except grpc.aio.InternalError:
                    await asyncio.sleep(_CANCEL_COMES_S)
                    raise

    return serve
