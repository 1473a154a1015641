"""The queue in memory is a subscription like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from backstay.testing import MemoryQueue
from backstay.testing.conformance import SubscriptionCase, SubscriptionKit


class Bench:
    def __init__(self, queue: MemoryQueue) -> None:
        self.one = self.other = queue

    async def publish(self, payload: bytes, message_id: str, headers: Mapping[str, str]) -> None:
        self.one.publish(payload, message_id=message_id, headers=headers)

    async def dead(self) -> list[tuple[str, str]]:
        return [(delivery.message_id, reason) for delivery, reason in self.one.dead]


@asynccontextmanager
async def bench(ack_wait: float) -> AsyncIterator[Bench]:
    yield Bench(MemoryQueue(ack_wait=ack_wait))


@pytest.mark.parametrize("case", SubscriptionKit(bench, slack=0.0).cases(), ids=str)
async def test_it_conforms(case: SubscriptionCase) -> None:
    """Each thing that the kit asks holds, on the microsecond."""
    await case.run()
