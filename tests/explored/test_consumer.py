"""A consumer under many schedules: whatever strikes when, each message has one effect or is still there."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from backstay.lifecycle import Consumer, Delivery, Redelivery
from backstay.testing import MemoryQueue

RULE = Redelivery(max_attempts=9, first=0.001, most=0.001)


class Effects:
    """A handler that fails the first time of each second message, and counts what it has done."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.order: list[str] = []
        self.failed: set[str] = set()

    async def __call__(self, delivery: Delivery) -> None:
        await asyncio.sleep(0.001)
        name = delivery.message_id
        if name.endswith("2") and name not in self.failed:
            self.failed.add(name)
            raise OSError(name)
        self.done[name] += 1
        self.order.append(name)


def filled(*names: str) -> MemoryQueue:
    queue = MemoryQueue(ack_wait=30)
    for name in names:
        queue.publish(message_id=name)
    return queue


async def all_in_the_queue(queue: MemoryQueue) -> set[str]:
    """Return what can be pulled at once, or soon: nothing may be leased any more."""
    return {one.message_id for one in await queue.pull(99, 0.0)} | {
        one.message_id for one in await queue.pull(99, 0.01)
    }


@pytest.mark.explore(schedules=10_000, quick=300)
@pytest.mark.parametrize("at", [0.0, 0.001, 0.002])
async def test_told_and_cancelled_at_once_it_has_nothing_in_hand_at_the_end(at: float) -> None:
    """Each message is acked, or free for somebody else at once; acked ones had their effect once."""
    queue, effects = filled("m1", "m2", "m3", "m4"), Effects()
    consumer = Consumer("c", queue, effects, concurrency=2, redelivery=RULE, pull_wait=0.002)
    running = asyncio.ensure_future(consumer.run())

    async def stop() -> None:
        await asyncio.sleep(at)
        consumer.stop()

    async def cancel() -> None:
        await asyncio.sleep(at)
        running.cancel()

    await asyncio.gather(stop(), cancel(), running, return_exceptions=True)
    statistics = consumer.statistics()
    assert statistics.in_hand == 0
    left = await all_in_the_queue(queue)
    assert len(left) == len(queue), "something is still leased"
    assert len(queue) + statistics.acked == 4
    assert set(effects.done) | left == {"m1", "m2", "m3", "m4"}
    settled = statistics.acked + statistics.retried + statistics.given_back + statistics.lost
    assert settled == statistics.taken
    assert statistics.lost == 0


@pytest.mark.explore(schedules=10_000, quick=300)
async def test_a_drain_finishes_what_was_taken() -> None:
    """Nothing that was taken is given back but what had failed, and nothing is done twice."""
    queue, effects = filled("m1", "m2", "m3"), Effects()
    consumer = Consumer("c", queue, effects, concurrency=2, redelivery=RULE, pull_wait=0.002)
    async with consumer:
        await asyncio.sleep(0.001)
    left = await all_in_the_queue(queue)
    assert len(left) == len(queue)
    assert set(effects.done.values()) <= {1}
    assert not left & set(effects.done)
    assert left | set(effects.done) == {"m1", "m2", "m3"}


@pytest.mark.explore(schedules=10_000, quick=300)
async def test_messages_of_a_key_keep_their_order() -> None:
    """Whoever fails, and whatever finishes first: of each key in order, once each."""
    queue, effects = filled("a1", "a2", "b1", "a3", "b2"), Effects()
    consumer = Consumer(
        "c",
        queue,
        effects,
        concurrency=2,
        key=lambda one: one.message_id[0],
        redelivery=RULE,
        pull_wait=0.002,
    )
    async with consumer:
        await queue.wait_empty()
    assert [name for name in effects.order if name[0] == "a"] == ["a1", "a2", "a3"]
    assert [name for name in effects.order if name[0] == "b"] == ["b1", "b2"]


@pytest.mark.explore(schedules=5_000, quick=200)
async def test_two_consumers_and_one_that_is_cut_lose_nothing() -> None:
    """What the one gives back the other finishes; a message has two effects only if it was cut."""
    queue, effects = filled("m1", "m2", "m3", "m4"), Effects()
    cut = Consumer("cut", queue, effects, concurrency=2, redelivery=RULE, pull_wait=0.002)
    running = asyncio.ensure_future(cut.run())
    async with Consumer("stays", queue, effects, concurrency=1, redelivery=RULE, pull_wait=0.002):
        await asyncio.sleep(0.001)
        running.cancel()
        await queue.wait_empty()
    await asyncio.gather(running, return_exceptions=True)
    assert set(effects.done) == {"m1", "m2", "m3", "m4"}
    assert not queue.dead
