"""Spans of OpenTelemetry for gRPC on asyncio: one for each call that is served, one for each that is made.

Extras: ``pip install backstay[grpc,opentelemetry]``. Tested with grpcio 1.85 and opentelemetry 1.45.

    server = grpc.aio.server(interceptors=[CallTracer(), ServerGuard()])

    with call_span("shop.Stock/Reserve"):
        reply = await stub.Reserve(request, **carry(timeout=0.5))

What it adds to the contrib instrumentation: a call that is made stays in the task that makes it, where an
interceptor of grpc.aio costs each call a task of its own; and the guard, its logs and the calls made
while serving name the very span that is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, cast

import grpc
import grpc.aio
from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from backstay.context import TRACE_HEADER
from backstay.integrations._grpc_handlers import rewrapped
from backstay.integrations._spans import (
    Attributes,
    CurrentSpan,
    below,
    default_tracer,
    mark_error,
    remote,
)

__all__ = ["CallSpan", "CallTracer", "call_span"]

_LONGEST_NAME: Final = 120
_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
# Of all statuses those that are the server's own fault; the others are answers.
_SERVER_ERRORS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_STATUS: Final = "rpc.response.status_code"

Context = grpc.aio.ServicerContext[Any, Any]


class CallTracer(grpc.aio.ServerInterceptor):
    """Records one span of kind "server" for each call; pass it to ``grpc.aio.server(interceptors=[...])``.

    Put it before the `ServerGuard`, which then takes the trace that is recorded. Calls of methods that do not
    exist are not recorded; handlers that are not async run in grpc's thread pool and are left alone.

    An error that nobody handles and a cancel make the span an error, and so do the statuses that are the server's
    own fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
    """

    def __init__(self, *, tracer: trace.Tracer | None = None) -> None:
        """Prepare.

        Args:
            tracer: of OpenTelemetry; that of the global provider when omitted.
        """
        self._tracer = tracer or default_tracer()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call; called by grpc."""
        handler = await continuation(handler_call_details)
        if handler is None:  # no such method: grpc answers
            return None
        call = _Served(self._tracer, handler_call_details)
        return rewrapped(handler, call.around)


class _Served:
    """One call that is served: its span begins with its handler, since not every call gets that far."""

    __slots__ = ("_caller", "_method", "_tracer")

    def __init__(self, tracer: trace.Tracer, details: grpc.HandlerCallDetails) -> None:
        self._tracer = tracer
        self._method = str(details.method).lstrip("/")[:_LONGEST_NAME]
        metadata = cast("Iterable[tuple[str, str | bytes]]", details.invocation_metadata or ())
        found = [value for key, value in metadata if key == TRACE_HEADER]
        self._caller: SpanContext | None = None
        if len(found) == 1 and isinstance(found[0], str):  # two are as good as none (W3C)
            self._caller = remote(found[0])

    def _begin(self, context: Context) -> _ServedSpan | None:
        record = self._tracer.start_span(
            self._method,
            context=below(self._caller),
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": self._method},
        )
        if not record.get_span_context().is_valid:  # no SDK, and nobody who calls has one
            return None
        return _ServedSpan(record, context)

    def around(self, function: Callable[[Any, Context], Awaitable[Any]]) -> Any:
        """Wrap a handler that returns its reply, or writes its replies to the context."""

        async def serve(request: Any, context: Context) -> Any:
            span = self._begin(context)
            if span is None:
                return await function(request, context)
            with span:
                return await function(request, context)

        return serve


class _ServedSpan(CurrentSpan):
    """The block of a handler; what the call is answered with is read at its end."""

    __slots__ = ("_context",)

    def __init__(self, record: trace.Span, context: Context) -> None:
        super().__init__(record)
        self._context = context

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self.record.is_recording():
            self._answered()
        super().__exit__(kind, error, traceback)

    def failed(self, error: BaseException) -> None:
        """Tell an answer that the handler has chosen from what it did not handle."""
        if isinstance(error, grpc.aio.AbortError):
            self._answered()
        elif not isinstance(error, Exception) or isinstance(error, grpc.aio.InternalError):
            self._cancelled()  # the latter is what a write to a client that has gone raises
        else:
            self.record.set_attribute(_STATUS, "UNKNOWN")  # what grpc.aio answers with
            super().failed(error)

    def _cancelled(self) -> None:
        self.record.set_attribute(_STATUS, "CANCELLED")
        mark_error(self.record, asyncio.CancelledError())

    def _answered(self) -> None:
        status = _name_of(self._context.code())
        self.record.set_attribute(_STATUS, status)
        if status in _SERVER_ERRORS:
            self.record.set_attribute("error.type", status)
            self.record.set_status(Status(StatusCode.ERROR, status))


def _name_of(code: Any) -> str:
    """Return the name of a status, which grpc.aio tells as itself, as its number, or as nothing yet."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _NAMES.get(code or 0, str(code))


class CallSpan:
    """The block of one call that is made; see `call_span`."""

    __slots__ = ("_attributes", "_current", "_method", "_tracer")

    def __init__(self, method: str, attributes: Attributes | None, tracer: trace.Tracer) -> None:
        """Describe it; nothing is recorded before it is entered."""
        self._method = method.lstrip("/")
        self._attributes = attributes
        self._tracer = tracer
        self._current: CurrentSpan | None = None

    def __enter__(self) -> trace.Span:
        """Begin the span."""
        told: dict[str, Any] = {"rpc.system.name": "grpc", "rpc.method": self._method}
        if self._attributes:
            told.update(self._attributes)
        record = self._tracer.start_span(self._method, kind=SpanKind.CLIENT, attributes=told)
        if (
            record.get_span_context().is_valid
        ):  # otherwise there is no SDK, and nobody around has one
            self._current = _MadeSpan(record)
            self._current.__enter__()
        return record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        current, self._current = self._current, None
        if current is not None:
            if error is None:
                current.record.set_attribute(_STATUS, "OK")
            current.__exit__(kind, error, traceback)


class _MadeSpan(CurrentSpan):
    __slots__ = ()

    def failed(self, error: BaseException) -> None:
        """Tell a status from an error of our own."""
        if isinstance(error, grpc.aio.AioRpcError):
            status = error.code().name
            self.record.set_attribute(_STATUS, status)
            mark_error(self.record, error, status)
            return
        super().failed(error)


def call_span(
    method: str, attributes: Attributes | None = None, *, tracer: trace.Tracer | None = None
) -> CallSpan:
    """Record one span of kind "client" for the block, which makes one call; `carry()` inside names it as the parent.

    ::

        with call_span("shop.Stock/Watch"):
            async for reply in stub.Watch(request, **carry()):
                ...

    Args:
        method: full name, as "shop.Stock/Reserve"; the span's name.
        attributes: what else to tell of it.
        tracer: of OpenTelemetry; that of the global provider when omitted.

    Returns:
        A context manager for one use; it yields the span.

    Each status but OK makes it an error, and so does whatever else leaves the block, a cancel included. Around a
    policy it is one span for all attempts.

    Cost: what the SDK takes for a span, and some 20 microseconds where one records; two where none does.
    """
    return CallSpan(method, attributes, tracer or default_tracer())
