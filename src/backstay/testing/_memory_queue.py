"""A broker in memory: for tests of what consumes, in virtual time, with a broker that can be sick."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backstay._base import now
from backstay.lifecycle import Delivery

__all__ = ["MemoryQueue"]

_NEVER = float("inf")
# A timer may fire a nanosecond early; on a virtual clock, time then stands still for ever.
_SOON_S = 1e-6


@dataclass(slots=True, eq=False)
class _Message:
    number: int
    message_id: str
    payload: bytes
    headers: Mapping[str, str]
    due: float  # when it may be delivered: at once, or when its lease or its delay has passed
    attempt: int = 0  # deliveries so far


class MemoryQueue:
    """Keeps messages until they are settled; any number of consumers may pull from it.

    ::

        queue = MemoryQueue(ack_wait=5.0)
        queue.publish(b"42", message_id="order-42")
        async with Consumer("orders", queue, ship):
            await queue.wait_empty()
        assert queue.dead == []

    It is a `Subscription`, and does what brokers do: it leases, delivers again what was not
    settled in time, counts deliveries, and keeps dead letters. Nothing survives the process.

    Attributes:
        ack_wait: seconds for which a delivery belongs to whoever has pulled it.
        mood: "well"; "away": every call fails; "hung": no call returns before it is well again.
        dead: the dead letters, each with its reason.
    """

    def __init__(self, *, ack_wait: float = 30.0) -> None:
        """Be empty.

        Args:
            ack_wait: seconds, > 0.

        Raises:
            ValueError: it is not more than 0.
        """
        if not ack_wait > 0:
            raise ValueError(f"an ack wait is more than 0 seconds, not {ack_wait!r}")
        self.dead: list[tuple[Delivery, str]] = []
        self._ack_wait = ack_wait
        self._mood: Literal["well", "away", "hung"] = "well"
        self._messages: dict[str, _Message] = {}
        self._published = 0
        self._changed = asyncio.Event()

    @property
    def ack_wait(self) -> float:
        """Seconds for which a delivery belongs to whoever has pulled it."""
        return self._ack_wait

    @property
    def mood(self) -> Literal["well", "away", "hung"]:
        """How it is: "well", "away" or "hung"; may be set."""
        return self._mood

    @mood.setter
    def mood(self, mood: Literal["well", "away", "hung"]) -> None:
        self._mood = mood
        self._changed.set()

    def __len__(self) -> int:
        """Return how many messages are not settled."""
        return len(self._messages)

    def publish(
        self,
        payload: bytes = b"",
        *,
        message_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Put a message at the end; return the queue's own name of it.

        Args:
            payload: whatever it says.
            message_id: the publisher's name of it; the queue's own when omitted.
            headers: names in lower case.
        """
        self._published += 1
        name = str(self._published)
        self._messages[name] = _Message(
            self._published, message_id or name, payload, dict(headers or {}), 0.0
        )
        self._changed.set()
        return name

    async def wait_empty(self) -> None:
        """Wait until all messages are acked, or dead."""
        while self._messages:
            await self._look_again(_NEVER)

    # -- the subscription --------------------------------------------------------------

    async def pull(self, most: int, wait: float) -> Sequence[Delivery]:
        """Lease up to `most` messages; see `Subscription`.

        Cancelled: nothing stays leased.
        """
        await self._answer()
        until = now() + wait
        while not (found := self._lease(most)) and (left := until - now()) > _SOON_S:
            due = min((one.due for one in self._messages.values()), default=_NEVER)
            await self._look_again(min(left, due - now()))
            await self._answer()
        return found

    async def ack(self, delivery: Delivery) -> None:
        """Forget a message; see `Subscription`."""
        await self._answer()
        self._messages.pop(delivery.id, None)
        self._changed.set()

    async def nak(self, delivery: Delivery, delay: float, *, blame: bool = True) -> None:
        """Have a message delivered again; see `Subscription`. Without blame it counts no attempt."""
        await self._answer()
        if (one := self._ours(delivery)) is not None:
            one.due = now() + delay
            one.attempt -= not blame
            self._changed.set()

    async def in_progress(self, deliveries: Sequence[Delivery]) -> None:
        """Lease messages anew; see `Subscription`."""
        await self._answer()
        for delivery in deliveries:
            if (one := self._ours(delivery)) is not None:
                one.due = now() + self._ack_wait

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Keep a message in `dead`, and deliver it no more; see `Subscription`."""
        await self._answer()
        if self._messages.pop(delivery.id, None) is not None:
            self.dead.append((delivery, reason))
        self._changed.set()

    def _ours(self, delivery: Delivery) -> _Message | None:
        """Return the message if nobody has been given it since."""
        one = self._messages.get(delivery.id)
        return one if one is not None and one.attempt == delivery.attempt else None

    def _lease(self, most: int) -> list[Delivery]:
        at = now()
        found: list[Delivery] = []
        for name, one in self._messages.items():
            if len(found) == most:
                break
            if one.due <= at + _SOON_S:
                one.due = at + self._ack_wait
                one.attempt += 1
                found.append(Delivery(name, one.message_id, one.payload, one.attempt, one.headers))
        return found

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        while self._mood == "hung":
            await self._look_again(_NEVER)
        if self._mood == "away":
            raise ConnectionError("the queue is away")

    async def _look_again(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(None if seconds == _NEVER else max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            pass
