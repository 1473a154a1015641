"""Policies around calls of grpc.aio, and servers that refuse, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import backstay
from backstay.errors import DeadlineExceeded, ExpiredError, OpenError
from backstay.guard import Admission, Breaker, Budget, Bulkhead, KeyedRate, Policy, Retry
from backstay.integrations.grpc import ServerGuard
from backstay.integrations.grpc_policies import AdmissionGuard, policy_interceptors

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

UNARY, STREAM = "/shop.Test/Unary", "/shop.Test/Stream"
UP, BOTH = "/shop.Test/Up", "/shop.Test/Both"


class Server:
    """Answers as the test says."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.calls: list[dict[str, Any]] = []
        self.left: list[float | None] = []

    async def unary(self, request: bytes, context: Any) -> bytes:
        self.calls.append(dict(context.invocation_metadata()))
        self.left.append(context.time_remaining())
        answer = self.answers.pop(0) if self.answers else None
        if answer == "hang":
            await asyncio.sleep(30)
        if isinstance(answer, tuple):
            code, trailers = answer
            await context.abort(code, "as asked", trailers)
        elif answer is not None:
            await context.abort(answer, "as asked")
        return b"reply %d" % len(self.calls)

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.calls.append({})
        for number in range(3):
            await asyncio.sleep(0.01)
            yield b"%d" % number
        if self.answers:
            await context.abort(self.answers.pop(0), "as asked")

    async def up(self, requests: Any, context: Any) -> bytes:
        return b"".join([part async for part in requests])

    async def both(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for part in requests:
            yield part


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, server: Server) -> None:
        self._methods = {
            UNARY: grpc.unary_unary_rpc_method_handler(server.unary),
            STREAM: grpc.unary_stream_rpc_method_handler(server.stream),
            UP: grpc.stream_unary_rpc_method_handler(server.up),
            BOTH: grpc.stream_stream_rpc_method_handler(server.both),
        }

    def service(self, details: Any) -> Any:
        return self._methods.get(details.method)


@asynccontextmanager
async def serving(
    policy: Any, *guards: Any, repeat: tuple[str, ...] = (UNARY,)
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    served = Server()
    server = grpc.aio.server(interceptors=[*guards, ServerGuard()])
    server.add_generic_rpc_handlers((_Handlers(served),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    interceptors = [] if policy is None else policy_interceptors(policy, repeat=repeat)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
        yield served, channel
    await server.stop(0)


def policy_of(**parts: Any) -> Policy:
    parts.setdefault("retry", Retry(3, first=0.001, budget=Budget(1.0)))
    return Policy("stock", **parts)


async def call(channel: grpc.aio.Channel, **options: Any) -> bytes:
    reply: bytes = await channel.unary_unary(UNARY)(b"order", **options)
    return reply


async def test_what_may_be_repeated_is_tried_again() -> None:
    """UNAVAILABLE of a method that was named, and not before the server's pushback."""
    async with serving(policy_of()) as (server, channel):
        server.answers = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE]
        assert await call(channel) == b"reply 3"
        server.answers = [(grpc.StatusCode.RESOURCE_EXHAUSTED, (("grpc-retry-pushback-ms", "50"),))]
        began = asyncio.get_running_loop().time()
        assert await call(channel) == b"reply 5"
        assert asyncio.get_running_loop().time() - began >= 0.05
        server.answers = [grpc.StatusCode.UNAVAILABLE] * 3
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert len(server.calls) == 8


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        (grpc.StatusCode.NOT_FOUND, 0),
        (grpc.StatusCode.FAILED_PRECONDITION, 0),
        ((grpc.StatusCode.DEADLINE_EXCEEDED, (("backstay-deadline", "expired"),)), 0),
        ((grpc.StatusCode.UNAVAILABLE, (("grpc-retry-pushback-ms", "-1"),)), 1),
        ((grpc.StatusCode.UNAVAILABLE, (("grpc-retry-pushback-ms", "soon"),)), 1),
    ],
)
async def test_what_is_not_tried_again(answer: Any, failures: int) -> None:
    """An answer of the method says nothing bad; a negative pushback is a no."""
    breaker = Breaker("stock")
    async with serving(policy_of(breaker=breaker)) as (server, channel):
        server.answers = [answer]
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel)
        assert len(server.calls) == 1
        assert breaker.statistics().failed == failures


async def test_a_breaker_opens_on_hangs_and_no_server() -> None:
    """What takes too long, or cannot be reached, is not asked for a while."""
    breaker = Breaker("stock", minimum=2, open_for=60)
    policy = Policy("stock", attempt=0.1, breaker=breaker, bulkhead=Bulkhead(1))
    async with serving(policy, repeat=()) as (server, channel):
        server.answers = ["hang", grpc.StatusCode.UNAVAILABLE]
        with pytest.raises((DeadlineExceeded, grpc.aio.AioRpcError)):
            await call(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel)
        with pytest.raises(OpenError):
            await call(channel)
        assert len(server.calls) == 2
        assert policy.parts[-1].statistics().in_flight == 0  # type: ignore[attr-defined]


async def test_deadline_and_identity_travel() -> None:
    """The server has what is left, and without any no call is made."""
    async with serving(policy_of()) as (server, channel):
        with backstay.bind(backstay.context.REQUEST_ID, "order-7"):
            async with backstay.timeout(1.0):
                await call(channel, metadata=(("mine", "kept"),))
            with pytest.raises(ExpiredError):
                async with backstay.timeout(0.004):
                    await call(channel)
        assert 0.5 < (server.left[0] or 0) < 1.0
        assert server.calls[0]["x-request-id"] == "order-7"
        assert server.calls[0]["mine"] == "kept"
        assert len(server.calls) == 1


async def test_streams_hold_their_guards_to_the_end() -> None:
    """All four kinds pass; a stream keeps its place until the last reply, and an answer is no failure."""
    bulkhead, breaker = Bulkhead(1, 0), Breaker("stock")
    async with serving(policy_of(bulkhead=bulkhead, breaker=breaker)) as (server, channel):

        async def parts() -> AsyncIterator[bytes]:
            for part in (b"a", b"b"):
                yield part

        assert await channel.stream_unary(UP)(parts()) == b"ab"
        assert [part async for part in channel.stream_stream(BOTH)(parts())] == [b"a", b"b"]
        seen = []
        async for reply in channel.unary_stream(STREAM)(b"x"):
            seen.append(reply)
            if reply == b"0":
                assert bulkhead.statistics().in_flight == 1
        assert seen == [b"0", b"1", b"2"]
        server.answers = [grpc.StatusCode.NOT_FOUND]
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in channel.unary_stream(STREAM)(b"x"):
                pass
        assert breaker.statistics().failed == 0
        server.answers = [grpc.StatusCode.UNAVAILABLE]
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in channel.unary_stream(STREAM)(b"x"):
                pass
        assert breaker.statistics().failed == 1
        assert bulkhead.statistics().in_flight == 0


async def test_a_caller_that_goes_away_leaves_nothing_taken() -> None:
    """Cancelled in a call as in the middle of a stream."""
    bulkhead = Bulkhead(1)
    async with serving(policy_of(bulkhead=bulkhead)) as (server, channel):
        server.answers = ["hang"]
        task = asyncio.ensure_future(call(channel))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)
        assert bulkhead.statistics().in_flight == 0
        assert await call(channel) == b"reply 2"


async def test_a_function_chooses_the_policy() -> None:
    """By method; None lets a call pass unguarded."""
    closed = Policy("closed", breaker=Breaker("closed"))
    closed.force_open("test")
    async with serving(lambda method: closed if method == STREAM else None) as (_, channel):
        assert await call(channel) == b"reply 1"
        with pytest.raises(OpenError):
            async for _ in channel.unary_stream(STREAM)(b"x"):
                pass


async def test_a_server_refuses_what_it_cannot_finish() -> None:
    """RESOURCE_EXHAUSTED with a pushback, by criticality; a stream counts until its end."""
    admission = Admission(start=2)
    async with serving(None, AdmissionGuard(admission)) as (server, channel):
        taken = [admission.take("critical") for _ in range(2)]
        assert all(taken)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        trailers = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type]
        assert 400 <= int(trailers["grpc-retry-pushback-ms"]) <= 1600
        assert server.calls == []
        for _ in range(2):
            admission.leave()
        assert await call(channel) == b"reply 1"
        async for reply in channel.unary_stream(STREAM)(b"x"):
            if reply == b"0":
                assert admission.statistics().in_flight == 1
        await asyncio.sleep(0.01)
        assert admission.statistics().in_flight == 0


async def test_a_tenant_has_its_own_rate() -> None:
    """Beyond it, that tenant is refused, and nobody else."""
    rate = KeyedRate(1, burst=2, name="tenants")
    guard = AdmissionGuard(tenant_rate=rate, tenant="tenant")
    async with serving(None, guard) as (_, channel):
        for _ in range(2):
            await call(channel, metadata=(("tenant", "acme"),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, metadata=(("tenant", "acme"),))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await call(channel, metadata=(("tenant", "other"),))
        await call(channel)
        assert rate.statistics().rejected == 1
        rate.update(mode="shadow")
        await call(channel, metadata=(("tenant", "acme"),))
        assert rate.statistics().rejected == 2, "counted, and let in"


async def test_a_tenant_that_is_refused_keeps_no_place() -> None:
    """What the admission had given is given back, and a shed call uses up no tenant's rate."""
    rate, admission = KeyedRate(1, burst=1, name="tenants"), Admission(start=1)
    guard = AdmissionGuard(admission, tenant_rate=rate, tenant="tenant")
    acme = (("tenant", "acme"),)
    async with serving(None, guard) as (_, channel):
        admission.take("critical")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, metadata=acme)
        assert rate.statistics().granted == 0
        admission.leave()
        await call(channel, metadata=acme)
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, metadata=acme)
        assert admission.in_flight == 0


def test_half_of_an_option_is_refused() -> None:
    """A rate without a name for tenants, and a guard that refuses nothing."""
    with pytest.raises(ValueError, match="need each other"):
        AdmissionGuard(tenant_rate=KeyedRate(1))
    with pytest.raises(ValueError, match="give it an admission"):
        AdmissionGuard()
