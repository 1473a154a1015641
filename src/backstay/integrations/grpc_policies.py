"""Calls of grpc.aio that pass a policy, and servers that refuse what they cannot finish.

Install ``backstay[grpc]``. Tested with grpcio 1.85.

    channel = grpc.aio.insecure_channel(address, interceptors=policy_interceptors(payments))

    server = grpc.aio.server(interceptors=[AdmissionGuard(Admission()), ServerGuard()])

What a status says to the guards of a policy:

==============================================================  =================  ==================
status                                                          the guards learn   tried again
==============================================================  =================  ==================
OK, and what the method itself answers: NOT_FOUND, …            it answered        no
UNAVAILABLE, RESOURCE_EXHAUSTED                                 a failure          if it may be
DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, ABORTED, DATA_LOSS        a failure          if it may be
any with `Backstay-Deadline: expired`                           it answered        no
CANCELLED by the caller                                         nothing            no
==============================================================  =================  ==================

"If it may be": a unary call of a method that `repeat` names. The server's `grpc-retry-pushback-ms`
is kept to; a negative one says that it is not to be asked again. The rest is after gRPC's own
retry design (https://github.com/grpc/proposal/blob/master/A6-client-retries.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, cast

import grpc
import grpc.aio

from backstay.context import (
    DEADLINE_MARKER,
    DEADLINE_MARKER_VALUE,
    identity_headers,
    time_for_call,
)
from backstay.errors import LimitError
from backstay.guard import Admission, KeyedRate, Policy
from backstay.integrations._grpc_handlers import rewrapped

__all__ = ["CRITICALITY_METADATA", "PUSHBACK", "AdmissionGuard", "policy_interceptors"]

PUSHBACK: Final = "grpc-retry-pushback-ms"
CRITICALITY_METADATA: Final = "backstay-criticality"

_FAILURES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DATA_LOSS,
    }
)

PolicyOf = Callable[[str], "Policy | None"]
Details = grpc.aio.ClientCallDetails


class _Failed(Exception):
    """An attempt that failed, on its way through the guards."""

    def __init__(self, error: grpc.aio.AioRpcError, retry_after: float | None) -> None:
        super().__init__(f"{error.code().name}: {error.details()}")
        self.error = error
        self.retry_after = retry_after


class _Again(_Failed, ConnectionError):
    """The same, of a call that may be made again: `Retry` takes it for transient."""


def policy_interceptors(
    policy: Policy | PolicyOf, *, repeat: Collection[str] = (), margin: float = 0.005
) -> list[grpc.aio.ClientInterceptor]:
    """Return interceptors that let calls of all four kinds pass a policy.

    Args:
        policy: one for all methods, or a function of the method ("/shop.Stock/Reserve"); None from
            it lets a call pass unguarded.
        repeat: full names of unary methods that may be called twice.
        margin: seconds of the ambient deadline kept back for our own work afterwards.
    """
    way = _Way(policy, frozenset(repeat), margin)
    return [_UnaryUnary(way), _UnaryStream(way), _StreamUnary(way), _StreamStream(way)]


class _Way:
    """What the four interceptors have in common."""

    def __init__(self, policy: Policy | PolicyOf, repeat: frozenset[str], margin: float) -> None:
        self._policy = policy
        self._repeat = repeat
        self._margin = margin

    def policy_of(self, details: Details) -> Policy | None:
        if isinstance(self._policy, Policy):
            return self._policy
        return self._policy(_method_of(details))

    def carrying(self, details: Details) -> Details:
        """Return the details with what is left of the deadline, and with whose call it is.

        Raises:
            ExpiredError: no time is left.
        """
        left = time_for_call(self._margin)
        timeout = details.timeout
        if left is not None and (timeout is None or left < timeout):
            timeout = left
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        for name, value in identity_headers().items():
            if metadata.get(name) is None:
                metadata.add(name, value)
        return Details(
            details.method, timeout, metadata, details.credentials, details.wait_for_ready
        )

    async def once(
        self,
        details: Details,
        call: Callable[[Details], Awaitable[Any]],
        *,
        may_repeat: bool,
    ) -> Any:
        """Make a call with one reply; return the call, which is over."""
        policy = self.policy_of(details)
        repeat = may_repeat and _method_of(details) in self._repeat

        async def attempt() -> Any:
            made = await call(self.carrying(details))
            try:
                await made
            except grpc.aio.AioRpcError as error:
                if _blames(error):
                    pushback = _pushback_of(error)
                    again = repeat and (pushback is None or pushback >= 0)
                    kind = _Again if again else _Failed
                    raise kind(error, pushback if again else None) from error
            return made  # whoever awaits it gets the reply, or an error that blames nobody

        try:
            return await (attempt() if policy is None else policy.call(attempt))
        except _Failed as failed:
            for note in getattr(failed, "__notes__", ()):
                failed.error.add_note(note)
            raise failed.error from None

    async def stream(self, details: Details, call: Callable[[Details], Awaitable[Any]]) -> Any:
        """Begin a call with many replies, which holds its guards until it is over; return it.

        What it began in ends when it has begun, so the policy's deadline is grpc's to keep.
        """
        policy = self.policy_of(details)
        if policy is None:
            return await call(self.carrying(details))
        permit = policy.permit()
        await permit.__aenter__()
        try:
            made = await call(self.carrying(details))
        except BaseException as error:
            await permit.__aexit__(type(error), error, error.__traceback__)
            raise
        # The end of the call, and not that of whoever reads it: he may never begin, or lose interest.

        def over(call: Any) -> None:
            policy.give_all(permit, _how_it_ended(call))

        made.add_done_callback(over)
        return made


def _how_it_ended(call: Any) -> BaseException | None:
    """Return what a stream that is over says to the guards: None, a failure, or a cancel."""
    code, trailers = _now(call.code()), _now(call.trailing_metadata())
    if code == grpc.StatusCode.CANCELLED:
        return asyncio.CancelledError()
    if code not in _FAILURES or _is_marked(trailers):
        return None
    return ConnectionError(f"the stream ended with {code}")


def _now(coroutine: Any) -> Any:
    """Return what a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    return None


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, way: _Way) -> None:
        self._way = way

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Details, request: Any
    ) -> Any:
        """Make one call; called by grpc."""
        return await self._way.once(
            client_call_details, lambda details: continuation(details, request), may_repeat=True
        )


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    def __init__(self, way: _Way) -> None:
        self._way = way

    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Details, request_iterator: Any
    ) -> Any:
        """Make one call; a stream of requests cannot be sent again."""
        return await self._way.once(
            client_call_details,
            lambda details: continuation(details, request_iterator),
            may_repeat=False,
        )


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, way: _Way) -> None:
        self._way = way

    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Details, request: Any
    ) -> Any:
        """Make one call; called by grpc."""
        return await self._way.stream(
            client_call_details, lambda details: continuation(details, request)
        )


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, way: _Way) -> None:
        self._way = way

    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Details, request_iterator: Any
    ) -> Any:
        """Make one call; called by grpc."""
        return await self._way.stream(
            client_call_details, lambda details: continuation(details, request_iterator)
        )


def _method_of(details: Details) -> str:
    method = details.method
    return method.decode() if isinstance(method, bytes) else str(method)


def _blames(error: grpc.aio.AioRpcError) -> bool:
    return error.code() in _FAILURES and not _is_marked(error.trailing_metadata())


def _is_marked(trailers: Any) -> bool:
    """Tell whether the server says that time was spent."""
    return any(
        name == DEADLINE_MARKER.lower() and value == DEADLINE_MARKER_VALUE
        for name, value in trailers or ()
    )


def _pushback_of(error: grpc.aio.AioRpcError) -> float | None:
    """Return the seconds that the server asks to wait; below 0 not to ask again."""
    for name, value in cast("Any", error.trailing_metadata() or ()):
        if name == PUSHBACK:
            try:
                return int(value) / 1e3
            except ValueError:
                return -1.0  # what cannot be read says no (gRFC A6)
    return None


class AdmissionGuard(grpc.aio.ServerInterceptor):
    """Refuses calls that this process cannot finish, or that a tenant may not make.

    Put it before `ServerGuard`, so that a refusal costs no scope. A stream counts until its end.
    Refused calls end with RESOURCE_EXHAUSTED and `grpc-retry-pushback-ms`.
    """

    def __init__(
        self,
        admission: Admission | None = None,
        *,
        tenant_rate: KeyedRate | None = None,
        tenant: str = "",
    ) -> None:
        """Say what refuses.

        Args:
            admission: by how late the event loop is; callers name a criticality in the metadata
                `backstay-criticality`.
            tenant_rate: a rate for each tenant.
            tenant: the metadata that names it; calls without are nobody's, which no rate limits.

        Raises:
            ValueError: only one of `tenant_rate` and `tenant` is given, or nothing at all.
        """
        if (tenant_rate is None) != (not tenant):
            raise ValueError("AdmissionGuard: tenant_rate= and tenant= need each other")
        if admission is None and tenant_rate is None:
            raise ValueError("AdmissionGuard: give it an admission, a tenant_rate, or both")
        self._admission = admission
        self._rate = tenant_rate
        self._tenant = tenant.lower()

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Let a call in, or answer it; called by grpc."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        metadata: dict[str, Any] = dict(handler_call_details.invocation_metadata or ())
        return _admitted(self, handler, metadata)

    def wait_of(self, metadata: dict[str, Any]) -> float | None:
        """Decide about a call; return None when it was let in, or the seconds to wait.

        Admission first: a call that cannot be served should not use up what its tenant may ask.
        """
        admission = self._admission
        if admission is not None:
            level = str(metadata.get(CRITICALITY_METADATA, "default")).strip().lower()
            if not admission.take(level if level in admission.levels else "default"):
                return admission.retry_after()
        whose = metadata.get(self._tenant)
        if self._rate is None or not whose:
            return None
        try:
            self._rate.check(str(whose))
        except LimitError as error:
            self.leave()
            return error.retry_after or 0.0
        return None

    def leave(self) -> None:
        """A call that was let in has ended."""
        if self._admission is not None:
            self._admission.leave()


def _admitted(guard: AdmissionGuard, handler: Any, metadata: dict[str, Any]) -> Any:
    """Return a handler that asks first; one that runs in grpc's threads is left alone."""

    async def refuse(context: Any, wait: float) -> None:
        await context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "this process is asked for more than it can finish, or you for more than your rate",
            ((PUSHBACK, str(max(1, round(wait * 1e3)))),),
        )

    def around(function: Any) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            wait = guard.wait_of(metadata)
            if wait is not None:
                await refuse(context, wait)
            try:
                return await function(request, context)
            finally:
                guard.leave()

        return serve

    return rewrapped(handler, around)
