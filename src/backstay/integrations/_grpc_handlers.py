"""How a handler of grpc.aio gets something around it, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, cast

import grpc

__all__ = ["rewrapped"]


def rewrapped(
    handler: grpc.RpcMethodHandler[Any, Any],
    single: Callable[[Any], Any],
    streaming: Callable[[Any], Any],
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler with its function wrapped; itself when that is not async and runs in grpc's thread pool.

    Args:
        handler: of one method.
        single: wraps a function that returns its reply.
        streaming: wraps one that yields its replies.
    """
    parts = cast("Any", handler)
    asks = "stream" if parts.request_streaming else "unary"
    kind = f"{asks}_{'stream' if parts.response_streaming else 'unary'}"
    function = getattr(parts, kind)
    if isasyncgenfunction(function):
        wrapped = streaming(function)
    elif iscoroutinefunction(function):
        wrapped = single(function)
    else:
        return handler
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return cast(
        "grpc.RpcMethodHandler[Any, Any]",
        make(wrapped, parts.request_deserializer, parts.response_serializer),
    )
