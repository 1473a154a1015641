"""A member behind a gRPC channel of its own.

One channel for each member, and no load balancing of gRPC's: which member is asked, and what is known
when it does not answer, is for the client to say. Before a request is sent the channel must be ready, so
that "could not connect" and "sent, and no answer" are never mistaken for each other.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal, cast

import grpc
import grpc.aio

from backstay._base import now
from backstay.integrations.etcd._member import MemberFailed, Method

__all__ = ["CHANNEL_OPTIONS", "GrpcMember"]

# etcd counts pings that come more often than every 5 s, or while no call runs, and hangs up at the
# third. How long an answer to one may take is set by ping_timeout; keepalive_timeout does nothing.
CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.http2.ping_timeout_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # is how long an attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)
# A member without a leader then says so at once, before it has looked at the request.
_LEADER: Final = (("hasleader", "true"),)
_NEVER_LOOKED_AT: Final = ("etcdserver: no leader", "etcdserver: too many requests")
_MAYBE: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.ABORTED,
}


class GrpcMember:
    """One member, over gRPC; see `Member`."""

    def __init__(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: tuple[Any, ...]
    ) -> None:
        """Describe it; nothing is connected before it is asked."""
        self._address = address
        self._credentials = credentials
        self._options = options
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Any] = {}
        self._closed = False

    @property
    def address(self) -> str:
        """Where it is."""
        return self._address

    async def call(self, method: Method, request: Any, timeout: float) -> Any:
        """Ask, and return the answer; see `Member`."""
        until = now() + timeout
        channel = await self._ready(timeout)
        ask: Any = self._calls.get(method.path)
        if ask is None:
            ask = self._calls[method.path] = channel.unary_unary(
                method.path,
                request_serializer=_serialize,
                response_deserializer=method.reply.FromString,
            )
        try:
            return await ask(request, timeout=max(0.001, until - now()), metadata=_LEADER)
        except grpc.aio.AioRpcError as error:
            raise _failed(error, self._address) from None
        except asyncio.CancelledError:
            closed = _of_our_making(self._address)
            if closed is None:
                raise
            raise closed from None

    async def open(self, method: Method, timeout: float) -> GrpcStream:
        """Begin a call on which both sides speak; see `Member`."""
        channel = await self._ready(timeout)
        speak = channel.stream_stream(
            method.path,
            request_serializer=_serialize,
            response_deserializer=method.reply.FromString,
        )
        return GrpcStream(speak(metadata=_LEADER), self._address)

    async def aclose(self) -> None:
        """Break what is open; see `Member`."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _ready(self, timeout: float) -> grpc.aio.Channel:
        """Return the channel once it is connected.

        Raises:
            MemberFailed: it is not, and nothing was sent.
        """
        channel = self._channel
        if channel is None:
            channel = self._channel = self._connect()
        try:
            async with asyncio.timeout(timeout):
                state = channel.get_state(try_to_connect=True)
                while state is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE or self._closed:
                        raise MemberFailed("none", "UNAVAILABLE", "cannot connect", self._address)
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        except TimeoutError:
            why = f"no connection within {timeout:.2g} s"
            raise MemberFailed("none", "DEADLINE_EXCEEDED", why, self._address) from None
        return channel

    def _connect(self) -> grpc.aio.Channel:
        if self._closed:
            raise MemberFailed("none", "CANCELLED", "the client was closed", self._address)
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address, options=self._options)
        return grpc.aio.secure_channel(self._address, self._credentials, options=self._options)


class GrpcStream:
    """A call on which both sides speak; see `Stream`."""

    def __init__(self, call: Any, address: str) -> None:
        """Take over a call that has just begun."""
        self._call = call
        self._address = address

    async def write(self, request: Any) -> None:
        """Say something; see `Stream`."""
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise _failed(error, self._address) from None
        except asyncio.InvalidStateError:
            raise MemberFailed("maybe", "CANCELLED", "the stream is over", self._address) from None
        except asyncio.CancelledError:
            closed = _of_our_making(self._address)
            if closed is None:
                raise
            raise closed from None

    async def read(self) -> Any:
        """Return what the member says next; see `Stream`."""
        try:
            said = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _failed(error, self._address) from None
        except asyncio.CancelledError:
            closed = _of_our_making(self._address)
            if closed is None:
                raise
            raise closed from None
        if said is grpc.aio.EOF:
            raise MemberFailed("maybe", "OK", "the member ended the stream", self._address)
        return said

    def cancel(self) -> None:
        """Break it; see `Stream`."""
        self._call.cancel()


def _serialize(request: Any) -> bytes:
    return cast("bytes", request.SerializeToString())


def _failed(error: grpc.aio.AioRpcError, address: str) -> MemberFailed:
    code, detail = error.code(), error.details() or "no details"
    effect: Literal["none", "maybe", "refused"] = "maybe" if code in _MAYBE else "refused"
    if detail.startswith(_NEVER_LOOKED_AT):
        effect = "none"
    return MemberFailed(effect, code.name, detail, address)


def _of_our_making(address: str) -> MemberFailed | None:
    """Return what a `CancelledError` of gRPC's means when nobody has cancelled the task that got it.

    It raises one, too, when the call or its channel was closed.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return None
    return MemberFailed("maybe", "CANCELLED", "the call was closed", address)
