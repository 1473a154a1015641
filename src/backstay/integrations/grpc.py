"""gRPC on asyncio: each call served is owned and bounded, each call made carries what is left.

Install ``backstay[grpc]``. Tested with grpcio 1.85. What it adds to grpc.aio:

* each call is a scope of kind "request", so its tasks have an owner and a trace id;
* the caller's deadline becomes the ambient one, so that calls made while serving
  it can hand on what is left (grpc.aio does not do so by itself);
* one structured record and a plain INTERNAL for an unhandled error, where grpc.aio
  sends the exception's text to the client;
* a stop that waits for handlers: `server.stop()` returns while clean-up still runs
  (https://github.com/grpc/grpc/issues/37239).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import grpc
import grpc.aio

from backstay._base import now
from backstay.context import (
    BAGGAGE_HEADER,
    DEADLINE_MARKER,
    DEADLINE_MARKER_VALUE,
    REQUEST_ID,
    REQUEST_ID_HEADER,
    TRACE,
    TRACE_HEADER,
    Key,
    clean_request_id,
    identity_headers,
    new_ids,
    parse_baggage,
    parse_traceparent,
    time_for_call,
)
from backstay.errors import DeadlineExceeded
from backstay.integrations._grpc_handlers import rewrapped
from backstay.tasks import DeadlineWheel, ServedScope, install

__all__ = [
    "CallOptions",
    "ServerGuard",
    "ServerStatistics",
    "carry",
    "channel_options",
    "grpc_server",
    "server_options",
    "stop",
]

_log = logging.getLogger("backstay.grpc")

_MARKER = ((DEADLINE_MARKER, DEADLINE_MARKER_VALUE),)
# grpc reports "no deadline" as None today and as a time in the far future in other releases.
_FOREVER_S = 3.0e8
_LONGEST_NAME = 120

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = Iterable[tuple[str, str | bytes]]


def channel_options(
    *,
    ping_every: float = 1.5,
    ping_timeout: float = 1.0,
    reconnect_within: float = 0.5,
    connect_within: float = 5.0,
) -> list[tuple[str, int]]:
    """Return options for a channel that notices a peer which hangs, and comes back soon after an outage.

    ::

        channel = grpc.aio.insecure_channel("inventory:50051", options=channel_options())

    `grpc.keepalive_timeout_ms`, which everybody sets, has no effect: the ping's own time-out decides, and
    is a minute (https://github.com/grpc/grpc/pull/39239). With these a call to a process that was stopped
    fails as UNAVAILABLE within three seconds, and not at its own deadline.

    Args:
        ping_every: seconds without a word from the peer until it is pinged, also while no call runs.
        ping_timeout: seconds that it has to answer; then the connection is given up.
        reconnect_within: seconds between two tries to connect, at most; the first ones come faster.
        connect_within: seconds that one try may take, the handshake of TLS included.

    The server must bear pings so often: give it `server_options(ping_every)`, or it answers "too many pings".
    """
    return [
        ("grpc.http2.ping_timeout_ms", round(ping_timeout * 1000)),
        ("grpc.keepalive_time_ms", round(ping_every * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", min(100, round(reconnect_within * 1000))),
        (
            "grpc.min_reconnect_backoff_ms",
            round(connect_within * 1000),
        ),  # is how long a try may take
        ("grpc.max_reconnect_backoff_ms", round(reconnect_within * 1000)),
    ]


def server_options(ping_every: float = 1.5) -> list[tuple[str, int]]:
    """Return options for a server whose clients have `channel_options()`.

    Args:
        ping_every: seconds between two pings of a client; half of that is borne.

    A second process on the same port is refused too (`grpc.so_reuseport`): it is a mistake, and no load
    balancer.
    """
    return [
        ("grpc.http2.min_ping_interval_without_data_ms", round(ping_every * 500)),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.so_reuseport", 0),
    ]


class CallOptions(TypedDict, total=False):
    """Keywords for a call on a stub."""

    timeout: float  # seconds
    metadata: tuple[tuple[str, str], ...]


def carry(
    *,
    timeout: float | None = None,
    margin: float = 0.005,
    metadata: Sequence[tuple[str, str]] = (),
) -> CallOptions:
    """Return the keywords with which a call carries deadline, trace and carried keys.

    ::

        reply = await stub.Reserve(request, **carry(timeout=0.5))

    Why not an interceptor: grpc.aio runs every intercepted call in a task of its own,
    for which this is no reason.

    Args:
        timeout: seconds that this call may take at most, also without a deadline around it.
        margin: seconds of the ambient deadline kept back for our own work afterwards.
        metadata: your own, sent along.

    Raises:
        ExpiredError: no time is left; the call must not be made.
    """
    options = CallOptions()
    left = time_for_call(margin)
    if left is not None and (timeout is None or left < timeout):
        timeout = left
    if timeout is not None:
        options["timeout"] = timeout
    carried = (*metadata, *identity_headers().items())
    if carried:
        options["metadata"] = carried
    return options


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """How a guarded gRPC server is doing."""

    calls: int
    in_flight: int
    expired: int  # deadline passed, on arrival or in flight
    failed: int  # unhandled errors


class ServerGuard(grpc.aio.ServerInterceptor):
    """Makes each call of a server a scope; pass it to ``grpc.aio.server(interceptors=[...])``.

    Handlers that are not async run in grpc's thread pool and are left alone.
    """

    def __init__(self, *, timeout: float | None = None, keys: Sequence[Key[str]] = ()) -> None:
        """Prepare.

        Args:
            timeout: seconds for calls whose caller names no deadline; None for no limit.
            keys: carried keys to bind from what callers send as `baggage`; others are ignored.

        Raises:
            ValueError: `timeout` is not above 0.
        """
        if timeout is not None and not timeout > 0:
            raise ValueError(f"ServerGuard: timeout must be above 0 seconds, not {timeout!r}")
        self._timeout = timeout
        self._keys = {key.name: key for key in keys}
        self._wheel: tuple[asyncio.AbstractEventLoop, DeadlineWheel] | None = None
        self._live: dict[asyncio.Task[Any], str] = {}  # whose handler has not ended -> its name
        self._calls = 0
        self._expired = 0
        self._failed = 0

    def statistics(self) -> ServerStatistics:
        """Return what was counted."""
        return ServerStatistics(self._calls, len(self._live), self._expired, self._failed)

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
        call = _Call(self, str(handler_call_details.method), handler_call_details)
        return rewrapped(handler, call.around)

    async def drain(self, timeout: float | None = None) -> list[str]:
        """Wait for handlers that run, clean-up included.

        Args:
            timeout: seconds to wait at most; None for no limit.

        Returns:
            The names of those that had not ended.
        """
        names = dict(self._live)
        if not names:
            return []
        _, left = await asyncio.wait(names, timeout=timeout)
        return sorted(names[task] for task in left)

    # -- used by _Call -------------------------------------------------------

    def begin(self, call: _Call, context: Context) -> ServedScope:
        """Count a call and describe its scope."""
        loop = asyncio.get_running_loop()
        if self._wheel is None or self._wheel[0] is not loop:
            install(loop)
            self._wheel = (loop, DeadlineWheel(loop))
        self._calls += 1
        task = asyncio.current_task()
        if task is not None:
            self._live[task] = call.name
            task.add_done_callback(self._forget)
        left = cast("float | None", context.time_remaining())
        if left is None or left > _FOREVER_S:
            left = self._timeout
        call.left = left
        call.follow(TRACE.get())
        return ServedScope(
            call.name,
            wheel=self._wheel[1],
            timeout=left,
            values=call.values(self._keys),
            trace_id=call.trace_id,
        )

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._live.pop(task, None)

    async def end(
        self, call: _Call, context: Context, scope: ServedScope, error: Exception
    ) -> None:
        """Turn what left the handler into the call's status."""
        if isinstance(error, (grpc.aio.AbortError, grpc.aio.InternalError)):
            raise error  # the handler's own, deliberate answer; or a write to a client that has gone
        if isinstance(scope.cause, DeadlineExceeded):
            self._expired += 1
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded", _MARKER)
        self._failed += 1
        elapsed = 0.0 if scope.opened_at is None else now() - scope.opened_at
        _log.error(
            "%s failed: %s",
            scope.name,
            type(error).__name__,
            exc_info=error,
            extra={
                "method": call.method,
                "peer": context.peer(),
                "request_id": call.request_id,
                "trace_id": scope.trace_id,
                "owner": "/".join(scope.path),
                "elapsed": round(elapsed, 6),  # seconds
            },
        )
        await context.abort(grpc.StatusCode.INTERNAL, f"internal error (request {call.request_id})")

    async def expire(self, context: Context) -> None:
        """Answer a call whose time was spent when it arrived."""
        self._expired += 1
        await context.abort(
            grpc.StatusCode.DEADLINE_EXCEEDED, "deadline was spent on arrival", _MARKER
        )


class _Call:
    """One call: what its metadata said, and the wrappers around its handler."""

    def __init__(self, guard: ServerGuard, method: str, details: grpc.HandlerCallDetails) -> None:
        self._guard = guard
        self.method = method
        self.name = method.lstrip("/")[:_LONGEST_NAME]
        self.left: float | None = None
        found: dict[str, str] = {}
        for key, value in cast("Metadata", details.invocation_metadata or ()):
            if key in {TRACE_HEADER, REQUEST_ID_HEADER, BAGGAGE_HEADER} and isinstance(value, str):
                found[key] = "" if key in found else value  # twice is as good as not at all
        self.trace_id, self.request_id = new_ids()
        parent = parse_traceparent(found.get(TRACE_HEADER, ""))
        if parent is not None:
            self.trace_id = parent.trace_id
        self.request_id = clean_request_id(found.get(REQUEST_ID_HEADER, "")) or self.request_id
        self._baggage = found.get(BAGGAGE_HEADER, "")
        self._before = TRACE.get()  # of whoever has started the server: nothing to us

    def follow(self, trace_id: str | None) -> None:
        """Take the trace that an interceptor around the guard has begun for this very call."""
        if trace_id is not None and trace_id != self._before:
            self.trace_id = trace_id

    def values(self, keys: dict[str, Key[str]]) -> dict[Any, object]:
        values: dict[Any, object] = {TRACE: self.trace_id, REQUEST_ID: self.request_id}
        if keys and self._baggage:
            for name, value in parse_baggage(self._baggage, keys).items():
                values[keys[name]] = value
        return values

    def around(self, function: Callable[[Any, Context], Awaitable[Any]]) -> Any:
        """Wrap a handler that returns its reply, or writes its replies to the context."""

        async def serve(request: Any, context: Context) -> Any:
            scope = self._guard.begin(self, context)
            if self.left is not None and self.left <= 0:
                await self._guard.expire(context)
            reply: Any = None
            try:
                async with scope:
                    reply = await function(request, context)
            except Exception as error:
                await self._guard.end(self, context, scope, error)
            return reply

        return serve


async def stop(
    server: grpc.aio.Server, guard: ServerGuard, *, grace: float, clean_up: float = 5.0
) -> list[str]:
    """Stop a server, and return only when its handlers have ended.

    Args:
        server: new calls are refused from now on.
        guard: the server's.
        grace: seconds that running calls have to finish before they are cancelled.
        clean_up: seconds that handlers have after that to run their clean-up.

    Returns:
        The names of handlers that had still not ended; empty when all is well.

    Cancelled: the server stops at once, handlers are no longer waited for.
    """
    await server.stop(grace)
    return await guard.drain(clean_up)


@asynccontextmanager
async def grpc_server(
    server: grpc.aio.Server, guard: ServerGuard, *, grace: float = 8.0, clean_up: float = 1.5
) -> AsyncGenerator[grpc.aio.Server]:
    """Run a server for the length of a block; at its end new calls are refused, running ones may finish.

    ::

        service.add("rpc", lambda: grpc_server(server, guard), needs=("database",), budget=10.0)

    Args:
        server: with its servicers, ports, and `guard` among its interceptors.
        guard: the server's.
        grace: seconds that running calls have to finish before they are cancelled; together with
            `clean_up` less than the budget of the component.
        clean_up: seconds that handlers have after that.

    Cancelled: calls in flight are cancelled at once, and have half a second for their clean-up.
    """
    await server.start()
    calls, after = 0.0, 0.5  # what is left to them when the block is cut
    try:
        yield server
        calls, after = grace, clean_up
    finally:
        for name in await stop(server, guard, grace=calls, clean_up=after):
            _log.error("%s did not end when it was cancelled", name)
