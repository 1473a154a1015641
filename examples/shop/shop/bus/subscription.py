"""The bus as `backstay.lifecycle.Consumer` knows brokers: for services that leave taking and settling to it.

A module of its own: the bus needs nothing of Backstay, and its other users load nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from backstay.lifecycle import Delivery
from shop.bus._client import BusClient
from shop.bus._delivery import Delivery as BusDelivery


class BusSubscription:
    """What a group has of a topic; see `backstay.lifecycle.Subscription`.

    Args:
        bus: the client; any number of subscriptions may share it.
        topic: where messages come from.
        group: those who share them.
        lease_s: for how long a message is ours.
    """

    def __init__(self, bus: BusClient, topic: str, group: str, *, lease_s: float = 30.0) -> None:
        self._bus = bus
        self._topic = topic
        self._group = group
        self._lease_s = lease_s

    @property
    def ack_wait(self) -> float:
        """Seconds for which a message is ours."""
        return self._lease_s

    async def pull(self, most: int, wait: float) -> Sequence[Delivery]:
        """Lease messages; see `BusClient.pull`."""
        found = await self._bus.pull(
            self._topic, self._group, max_messages=most, wait_s=wait, lease_s=self._lease_s
        )
        return [
            Delivery(str(one.id), one.dedup_id, one.payload, one.attempt, {}, one) for one in found
        ]

    async def ack(self, delivery: Delivery) -> None:
        """Forget a message. Acks of handlers that end together share one call."""
        await self._bus.ack([_ours(delivery)])

    async def nak(self, delivery: Delivery, delay: float, *, blame: bool = True) -> None:
        """Give a message back. The bus buries it by itself when it has used up the bus's own attempts."""
        await self._bus.nak([_ours(delivery)], delay_s=delay, refund_attempt=not blame)

    async def in_progress(self, deliveries: Sequence[Delivery]) -> None:
        """Begin leases anew, in one call."""
        await self._bus.extend([_ours(one) for one in deliveries], lease_s=self._lease_s)

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Bury a message, in one step; `BusClient.dead_letters` lists it."""
        await self._bus.nak([_ours(delivery)], delay_s=0.0, dead_reason=reason)


def _ours(delivery: Delivery) -> BusDelivery:
    return cast("BusDelivery", delivery.token)
