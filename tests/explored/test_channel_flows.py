"""Merging, spreading and chaining channels under thousands of schedules, with cancellations.

What must hold whatever strikes: a stream that was cut short never looks complete,
and no task and no waiter survives the block.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from channel_ledger import ended, start

from backstay import Channel
from backstay.channels import RecvOnly, SendOnly, fan_in, fan_out, merge, pipeline
from backstay.errors import ChannelClosed, ChannelMisuse

FULL = 20_000
QUICK = 300

Flow = Callable[[Channel[int]], AbstractAsyncContextManager[RecvOnly[int]]]


async def twice(item: int) -> int:
    """Be a stage that waits."""
    await asyncio.sleep(0)
    return 2 * item


async def same(item: int) -> int:
    """Be a stage that does not."""
    return item


@asynccontextmanager
async def merged_and_spread(source: Channel[int]) -> AsyncIterator[RecvOnly[int]]:
    """Merge one source, and let two workers double what comes."""
    async with merge(source) as merged, fan_out(merged, twice, workers=2) as doubled:
        yield doubled


def piped(source: Channel[int]) -> AbstractAsyncContextManager[RecvOnly[int]]:
    """Double in one of two stages."""
    return pipeline(source, same, twice)


@asynccontextmanager
async def produced(source: Channel[int]) -> AsyncIterator[RecvOnly[int]]:
    """Let two producers take from the source, and send what they make of it."""

    async def produce(out: SendOnly[int]) -> None:
        async for item in source:
            await out.send(2 * item)

    async with fan_in(produce, produce) as out:
        yield out


async def cut_anywhere(flow: Flow, *, in_order: bool) -> None:
    """Run a producer, a flow and a consumer, any of whose tasks may be cancelled."""
    source: Channel[int] = Channel(1)
    before = len(asyncio.all_tasks())
    seen: list[int] = []
    sent: list[int] = []

    async def produce() -> None:
        for number in range(3):
            await source.send(number)
            sent.append(number)

    async def consume() -> None:
        async with flow(source) as out:
            async for item in out:
                seen.append(item)
            assert {2 * item for item in sent} <= set(seen), "cut short, it looks complete"
            assert len(set(seen)) == len(seen), f"received twice: {seen}"
            assert not in_order or seen == sorted(seen), f"out of order: {seen}"

    producer, consumer = start(produce(), consume())
    await asyncio.wait([producer, consumer], return_when=asyncio.FIRST_COMPLETED)
    producer.cancel()  # either it is done, or nobody takes its items any more
    await asyncio.wait([producer])
    source.close()
    await asyncio.wait([consumer])
    await ended_as_it_may(consumer)
    assert not source._receivers
    assert not source._senders
    assert len(asyncio.all_tasks()) == before


async def ended_as_it_may(consumer: asyncio.Future[object], *legal: type[Exception]) -> None:
    """Hold that a consumer came through, was cancelled, or was told that a stranger cancelled inside.

    The last is the one thing that is an error, since items are missing.
    """
    if not consumer.cancelled() and isinstance(error := consumer.exception(), ExceptionGroup):
        assert error.split(ChannelMisuse)[1] is None
    else:
        await ended([consumer], ChannelMisuse, *legal)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_merging_and_spreading_end_whatever_is_cancelled() -> None:
    """A merge inside of a fan-out: each item once, or an error, or a cancel; and nothing is left."""
    await cut_anywhere(merged_and_spread, in_order=False)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_pipeline_ends_whatever_is_cancelled() -> None:
    """Two stages: the same, and in order."""
    await cut_anywhere(piped, in_order=True)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_fan_in_ends_whatever_is_cancelled() -> None:
    """Two producers with one way out: the same."""
    await cut_anywhere(produced, in_order=False)


@pytest.mark.parametrize("flow", [merged_and_spread, piped, produced])
@pytest.mark.explore(schedules=FULL // 2, quick=QUICK // 2, cancel="systematic")
async def test_a_cancel_at_each_wait_inside_of_a_flow(flow: Flow) -> None:
    """Each task of a flow is cancelled at each of its waits, once."""
    await cut_anywhere(flow, in_order=False)


@pytest.mark.parametrize("flow", [merged_and_spread, piped, produced])
@pytest.mark.explore(schedules=FULL // 2, quick=QUICK // 2, cancel=True)
async def test_leaving_a_flow_early_leaves_nothing_inside(flow: Flow) -> None:
    """The consumer takes one item and goes; the producer is not held up for ever."""
    source: Channel[int] = Channel()
    before = len(asyncio.all_tasks())
    (producer,) = start(_send_for_ever(source))

    async def consume() -> None:
        async with flow(source) as out:
            await out.recv()

    (consumer,) = start(consume())
    done: set[asyncio.Future[object]] = set()
    while consumer not in done:
        done, _ = await asyncio.wait([producer, consumer], return_when=asyncio.FIRST_COMPLETED)
        if producer.done() and not source.closed:
            source.close()  # it was cancelled; the consumer learns that nothing comes
            await asyncio.wait([consumer])
            done.add(consumer)
    producer.cancel()
    await asyncio.wait([producer])
    assert len(asyncio.all_tasks()) == before
    assert not source._receivers
    assert not source._senders
    await ended_as_it_may(
        consumer, ChannelClosed
    )  # the producer was cancelled before its first item


async def _send_for_ever(source: Channel[int]) -> None:
    number = 0
    while True:
        await source.send(number)
        number += 1
