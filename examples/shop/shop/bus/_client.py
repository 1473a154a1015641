"""The client half of the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from shop.bus._delivery import Delivery
from shop.bus._errors import BusError, BusFull, BusUnavailable
from shop.bus._shared_ack import SharedAck
from shop.contracts import bus_pb2 as pb
from shop.contracts import bus_pb2_grpc
from shop.rpc import connect

Q = TypeVar("Q")
A = TypeVar("A")

# A publish is cut into calls of at most this size; gRPC refuses messages beyond 4 MiB.
MAX_CALL_MESSAGES = 500
MAX_CALL_BYTES = 1024 * 1024
# Pause before a call that broke off is repeated; the connection itself is awaited by gRPC.
RETRY_PAUSE_S = 0.05


class BusClient:
    """Publishes to and pulls from the broker at `target` ("127.0.0.1:4222").

    Make it inside the event loop that uses it. It connects with the first call and survives
    restarts of the broker: each call waits for the connection and is repeated when it broke off,
    up to `timeout_s`. One client serves any number of tasks.

    Args:
        target: host:port.
        timeout_s: patience per call, in seconds (for `pull`: on top of its `wait_s`).
    """

    def __init__(self, target: str, *, timeout_s: float = 5.0) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self._channel = connect(target)
        self._stub = bus_pb2_grpc.BusStub(self._channel)
        self._acks = SharedAck(self._ack)
        self._closed = False

    async def publish(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> None:
        """Store `messages`, (dedup id, payload) each, durably; repeated dedup ids are dropped.

        Hand over as many as you have: a call costs far more than a message.

        Raises:
            BusUnavailable: no answer in time; some may be stored. Publish them again.
            BusFull: the broker holds too many; some may be stored. Publish them again, later.
            BusError: the broker refused a name or a size.
        Cancelled: some may be stored. Publish them again.
        """
        for part in _parts(messages):
            request = pb.PublishRequest(
                topic=topic,
                messages=[
                    pb.Message(dedup_id=dedup_id, payload=payload) for dedup_id, payload in part
                ],
            )
            await self._call(self._stub.Publish, request, self.timeout_s)

    async def pull(
        self, topic: str, group: str, *, max_messages: int, wait_s: float, lease_s: float
    ) -> list[Delivery]:
        """Lease up to `max_messages` (1 to 1000); waits up to `wait_s` (0 to 60) for the first one.

        Pull only what you can work on: that is the back-pressure. The first pull registers the
        group with the topic; from then on it gets a copy of every message.

        Raises:
            BusUnavailable: no answer in time. The wait was its own pause: just pull again.
            BusError: the broker refused a name or a number.
        Cancelled: nothing stays leased, unless the reply was already on its way; then the
            messages come again when their lease has ended.
        """
        request = pb.PullRequest(
            topic=topic,
            group=group,
            max_messages=max_messages,
            wait_ms=round(wait_s * 1000),
            lease_ms=round(lease_s * 1000),
        )
        reply = await self._call(self._stub.Pull, request, wait_s + self.timeout_s)
        return [
            Delivery(one.id, one.dedup_id, one.payload, one.attempt) for one in reply.deliveries
        ]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """The work is done, forget these. Concurrent acks share one call.

        Raises:
            BusUnavailable: no answer in time; they may be redelivered. Ack again, or let it be.
        Cancelled: they may be redelivered.
        """
        if deliveries:
            await self._acks.add([delivery.id for delivery in deliveries])

    async def nak(
        self,
        deliveries: Sequence[Delivery],
        *,
        delay_s: float,
        refund_attempt: bool = False,
        dead_reason: str = "",
    ) -> None:
        """The work failed: redeliver after `delay_s`, or dead-letter what has used up its attempts.

        Args:
            deliveries: as pulled.
            delay_s: seconds before they may be pulled again.
            refund_attempt: do not count this attempt, since the message is not to blame (the
                warehouse is down, this process stops).
            dead_reason: not empty: dead-letter them at once, for this reason.

        Raises:
            BusUnavailable: no answer in time; they come again when their leases end.
        Cancelled: as above.
        """
        if deliveries:
            request = pb.NakRequest(
                claims=_claims(deliveries),
                delay_ms=round(delay_s * 1000),
                refund_attempt=refund_attempt,
                dead_reason=dead_reason,
            )
            await self._call(self._stub.Nak, request, self.timeout_s)

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> None:
        """The work goes on: begin the leases of these anew. Those that others have by now are left alone.

        Raises:
            BusUnavailable: no answer in time; their leases run on as they were.
        """
        if deliveries:
            request = pb.ExtendRequest(claims=_claims(deliveries), lease_ms=round(lease_s * 1000))
            await self._call(self._stub.Extend, request, self.timeout_s)

    async def dead_letters(self, topic: str = "", limit: int = 100) -> list[pb.DeadLetter]:
        """The newest dead letters of `topic` ("" = of all), newest first."""
        request = pb.ListDeadLettersRequest(topic=topic, limit=limit)
        return list((await self._call(self._stub.ListDeadLetters, request, self.timeout_s)).letters)

    async def statistics(self) -> pb.GetStatisticsReply:
        """The broker's counters and queues."""
        return await self._call(self._stub.GetStatistics, pb.GetStatisticsRequest(), self.timeout_s)

    async def close(self) -> None:
        """Close the connection; calls under way end with BusUnavailable. Harmless when called again."""
        self._closed = True
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ack(self, ids: list[int]) -> None:
        await self._call(self._stub.Ack, pb.AckRequest(ids=ids), self.timeout_s)

    async def _call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Q, A], request: Q, timeout_s: float
    ) -> A:
        """One call, repeated while the broker is away and patience lasts. All calls are repeatable."""
        until = time.monotonic() + timeout_s
        while not self._closed:
            try:
                return await method(request, timeout=until - time.monotonic(), wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise BusError(f"the bus refused the call: {error.details()}") from error
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise BusFull(f"the bus at {self.target} is full: {error.details()}") from error
                broke_off = error.code() is grpc.StatusCode.UNAVAILABLE
                if self._closed or not broke_off or time.monotonic() + RETRY_PAUSE_S >= until:
                    raise BusUnavailable(
                        f"no answer from the bus at {self.target} in {timeout_s:g} s:"
                        f" {error.code().name}, {error.details()}; is `python -m shop.infra` running?"
                    ) from error
            except asyncio.CancelledError as error:
                # grpc.aio answers calls of a channel that is being closed with CancelledError, though
                # nobody cancelled this task. A real cancellation shows in cancelling().
                task = asyncio.current_task()
                if not self._closed or task is None or task.cancelling():
                    raise
                raise BusUnavailable(f"the bus client of {self.target} was closed") from error
            except grpc.aio.UsageError as error:  # the channel was closed under our feet
                raise BusUnavailable(f"the bus client of {self.target} is closed") from error
            await asyncio.sleep(RETRY_PAUSE_S)
        raise BusUnavailable(f"the bus client of {self.target} is closed")


def _claims(deliveries: Sequence[Delivery]) -> list[pb.Claim]:
    return [pb.Claim(id=delivery.id, attempt=delivery.attempt) for delivery in deliveries]


def _parts(messages: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Cut a publish into calls that gRPC takes, in order."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for message in messages:
        if part and (len(part) == MAX_CALL_MESSAGES or size + len(message[1]) > MAX_CALL_BYTES):
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message[1])
    if part:
        yield part
