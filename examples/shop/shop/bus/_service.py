"""The broker's gRPC door: checks what comes in, translates, and knows how to end."""
# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import grpc.aio

from shop.bus._broker import Broker
from shop.bus._errors import BusFull
from shop.contracts import bus_pb2 as pb
from shop.contracts import bus_pb2_grpc
from shop.storage import StoreBusy, StoreError

Q = TypeVar("Q")
A = TypeVar("A")

MAX_NAME = 200  # characters of a topic, group or dedup id
MAX_REASON = 1_000  # characters kept of why a message is dead
MAX_PULL = 1_000  # messages
MAX_PAYLOAD_BYTES = 1024 * 1024
MAX_WAIT_MS = 60_000
MAX_LEASE_MS = 3_600_000


class BusService(bus_pb2_grpc.BusServicer):
    """Serves a Broker over gRPC."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no handler runs: `Server.stop` returns before their clean-up has ended."""
        await self._idle.wait()

    async def Publish(
        self,
        request: pb.PublishRequest,
        context: grpc.aio.ServicerContext[pb.PublishRequest, pb.PublishReply],
    ) -> pb.PublishReply:
        """Store messages."""

        async def work() -> pb.PublishReply:
            _check_name("topic", request.topic)
            for message in request.messages:
                _check_name("dedup_id", message.dedup_id)
                if len(message.payload) > MAX_PAYLOAD_BYTES:
                    raise _Invalid(
                        f"a payload of {len(message.payload)} bytes, at most {MAX_PAYLOAD_BYTES} are taken"
                    )
            messages = [(message.dedup_id, message.payload) for message in request.messages]
            done = await self._broker.publish(request.topic, messages)
            return pb.PublishReply(stored=done.stored, duplicates=done.duplicates)

        return await self._serve(context, work)

    async def Pull(
        self,
        request: pb.PullRequest,
        context: grpc.aio.ServicerContext[pb.PullRequest, pb.PullReply],
    ) -> pb.PullReply:
        """Lease messages, waiting for the first."""

        async def work() -> pb.PullReply:
            _check_name("topic", request.topic)
            _check_name("group", request.group)
            _check_range("max_messages", request.max_messages, 1, MAX_PULL)
            _check_range("wait_ms", request.wait_ms, 0, MAX_WAIT_MS)
            _check_range("lease_ms", request.lease_ms, 1, MAX_LEASE_MS)
            found = await self._broker.pull(
                request.topic,
                request.group,
                max_messages=request.max_messages,
                wait_s=request.wait_ms / 1000,
                lease_s=request.lease_ms / 1000,
            )
            return pb.PullReply(
                deliveries=[
                    pb.Delivered(
                        id=one.id, dedup_id=one.dedup_id, payload=one.payload, attempt=one.attempt
                    )
                    for one in found
                ]
            )

        return await self._serve(context, work)

    async def Ack(
        self, request: pb.AckRequest, context: grpc.aio.ServicerContext[pb.AckRequest, pb.AckReply]
    ) -> pb.AckReply:
        """Forget deliveries."""

        async def work() -> pb.AckReply:
            return pb.AckReply(settled=await self._broker.ack(list(request.ids)))

        return await self._serve(context, work)

    async def Nak(
        self, request: pb.NakRequest, context: grpc.aio.ServicerContext[pb.NakRequest, pb.NakReply]
    ) -> pb.NakReply:
        """Give deliveries back."""

        async def work() -> pb.NakReply:
            done = await self._broker.nak(
                [(claim.id, claim.attempt) for claim in request.claims],
                delay_s=request.delay_ms / 1000,
                refund_attempt=request.refund_attempt,
                dead_reason=request.dead_reason[:MAX_REASON],
            )
            return pb.NakReply(returned=done.returned, dead=done.dead)

        return await self._serve(context, work)

    async def Extend(
        self,
        request: pb.ExtendRequest,
        context: grpc.aio.ServicerContext[pb.ExtendRequest, pb.ExtendReply],
    ) -> pb.ExtendReply:
        """Begin leases anew."""

        async def work() -> pb.ExtendReply:
            _check_range("lease_ms", request.lease_ms, 1, MAX_LEASE_MS)
            extended = await self._broker.extend(
                [(claim.id, claim.attempt) for claim in request.claims],
                lease_s=request.lease_ms / 1000,
            )
            return pb.ExtendReply(extended=extended)

        return await self._serve(context, work)

    async def ListDeadLetters(
        self,
        request: pb.ListDeadLettersRequest,
        context: grpc.aio.ServicerContext[pb.ListDeadLettersRequest, pb.ListDeadLettersReply],
    ) -> pb.ListDeadLettersReply:
        """The newest dead letters."""

        async def work() -> pb.ListDeadLettersReply:
            _check_range("limit", request.limit, 1, MAX_PULL)
            found = await self._broker.dead_letters(request.topic, request.limit)
            return pb.ListDeadLettersReply(
                letters=[
                    pb.DeadLetter(
                        id=one.id,
                        topic=one.topic,
                        group=one.group,
                        dedup_id=one.dedup_id,
                        payload=one.payload,
                        attempts=one.attempts,
                        reason=one.reason,
                    )
                    for one in found
                ]
            )

        return await self._serve(context, work)

    async def GetStatistics(
        self,
        request: pb.GetStatisticsRequest,
        context: grpc.aio.ServicerContext[pb.GetStatisticsRequest, pb.GetStatisticsReply],
    ) -> pb.GetStatisticsReply:
        """Counters and queues."""

        async def work() -> pb.GetStatisticsReply:
            seen = await self._broker.statistics()
            return pb.GetStatisticsReply(
                published=seen.counters.published,
                duplicates=seen.counters.duplicates,
                delivered=seen.counters.delivered,
                redelivered=seen.counters.redelivered,
                acknowledged=seen.counters.acknowledged,
                returned=seen.counters.returned,
                expired_leases=seen.counters.expired_leases,
                dead_letters=seen.dead_letters,
                groups=[
                    pb.GroupStatistics(
                        topic=one.topic,
                        group=one.group,
                        ready=one.ready,
                        leased=one.leased,
                        delayed=one.delayed,
                        waiting_pulls=one.waiting_pulls,
                    )
                    for one in seen.groups
                ],
            )

        return await self._serve(context, work)

    async def _serve(
        self, context: grpc.aio.ServicerContext[Q, A], work: Callable[[], Awaitable[A]]
    ) -> A:
        """Run one call: count it, and turn errors into status codes a client can act on."""
        self._active += 1
        self._idle.clear()
        try:
            return await work()
        except _Invalid as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (BusFull, StoreBusy) as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except StoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()


class _Invalid(ValueError):
    """The request breaks a rule; the message says which."""


def _check_name(what: str, value: str) -> None:
    if not 0 < len(value) <= MAX_NAME:
        raise _Invalid(f"{what} has {len(value)} characters, 1 to {MAX_NAME} are taken")


def _check_range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise _Invalid(f"{what} is {value}, {least} to {most} are taken")
