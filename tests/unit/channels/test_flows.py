"""Helpers around channels own what they start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from backstay import Channel, Scope, now
from backstay.channels import RecvOnly, SendOnly, fan_in, fan_out, merge, pipeline
from backstay.errors import ChannelMisuse
from backstay.tasks import live_tasks


def closed_channel(*items: int) -> Channel[int]:
    channel: Channel[int] = Channel(len(items))
    for item in items:
        channel.send_nowait(item)
    channel.close()
    return channel


async def double(item: int) -> int:
    await asyncio.sleep(item)
    return 2 * item


async def refuse(item: int) -> int:
    raise LookupError(item)


def alive() -> int:
    return len(live_tasks(asyncio.get_running_loop()))


async def test_merge_receives_from_all_and_ends_with_the_last() -> None:
    """Each source's own order holds."""
    async with merge(closed_channel(1, 2, 3), closed_channel(10, 20), capacity=1) as both:
        seen = [item async for item in both]
    assert [item for item in seen if item < 10] == [1, 2, 3]
    assert [item for item in seen if item >= 10] == [10, 20]


async def test_fan_in_ends_when_all_producers_have_returned() -> None:
    """Producers hold the sending end; nobody closes by hand."""

    async def produce(out: SendOnly[int]) -> None:
        for number in range(3):
            await asyncio.sleep(1)
            await out.send(number)

    async with fan_in(produce, produce) as numbers:
        assert [item async for item in numbers] == [0, 0, 1, 1, 2, 2]
    assert now() == 3


async def test_fan_out_works_on_several_at_once() -> None:
    """Results come in the order in which they are done."""
    async with fan_out(closed_channel(3, 1, 2), double, workers=3) as results:
        assert [item async for item in results] == [2, 4, 6]
    assert now() == 3


async def test_a_pipeline_keeps_the_order_and_overlaps_its_stages() -> None:
    """Three items through two stages of 1 s each take 4 s."""

    async def slow(item: int) -> int:
        await asyncio.sleep(1)
        return item + 1

    async with pipeline(closed_channel(0, 10, 20), slow, slow, capacity=1) as results:
        assert [item async for item in results] == [2, 12, 22]
    assert now() == 4


async def test_a_pipeline_without_stages_is_its_source() -> None:
    """The empty chain."""
    source = closed_channel(1)
    async with pipeline(source) as results:
        assert results is source


FLOWS: dict[str, Callable[[RecvOnly[int]], AbstractAsyncContextManager[RecvOnly[Any]]]] = {
    "merge": lambda source: merge(source, Channel()),
    "fan_in": lambda source: fan_in(lambda out: out.send(1), lambda out: asyncio.sleep(1e6)),
    "fan_out": lambda source: fan_out(source, double, workers=4),
    "pipeline": lambda source: pipeline(source, double, double),
}


@pytest.mark.parametrize("flow", FLOWS)
async def test_leaving_early_ends_everything_inside(flow: str) -> None:
    """A break in the block leaves no task behind."""
    before = alive()
    source: Channel[int] = Channel(5)
    for number in range(5):
        source.send_nowait(number)
    async with FLOWS[flow](source) as results:
        assert await results.recv() in (0, 1)
        assert alive() > before
    assert alive() == before


@pytest.mark.parametrize("flow", FLOWS)
async def test_an_outer_cancel_ends_everything_inside(flow: str) -> None:
    """The block is cancelled while it waits for a result that does not come."""
    before = alive()

    async def run() -> None:
        async with FLOWS[flow](Channel()) as results:
            while True:
                await results.recv()

    async with Scope("outer") as scope:
        task = scope.go(run)
        await asyncio.sleep(1)
        task.cancel()
    assert task.cancelled()
    assert alive() == before


@pytest.mark.parametrize(
    "flow",
    [
        lambda source: fan_out(source, refuse, workers=2),
        lambda source: pipeline(source, double, refuse),
        lambda source: fan_in(lambda out: refuse(1)),
    ],
    ids=["fan_out", "pipeline", "fan_in"],
)
async def test_an_error_inside_leaves_the_block(flow: Any) -> None:
    """As a group, of one level; nothing goes on behind it."""
    before = alive()
    with pytest.raises(ExceptionGroup) as caught:
        async with flow(closed_channel(1, 2, 3)) as results:
            async for _ in results:
                pass
    assert all(isinstance(error, LookupError) for error in caught.value.exceptions)
    assert alive() == before


async def test_fan_out_needs_a_worker() -> None:
    """Without one nothing would ever come out."""
    with pytest.raises(ValueError, match="1 or more workers, not 0"):
        async with fan_out(Channel[int](), double, workers=0):
            pass


@pytest.mark.parametrize(
    "flow",
    [
        lambda source: merge(source),
        lambda source: fan_out(source, double, workers=2),
        lambda source: pipeline(source, double),
    ],
    ids=["merge", "fan_out", "pipeline"],
)
async def test_a_stranger_that_cancels_inside_is_an_error(flow: Any) -> None:
    """Items would be missing, so the stream must not end as if it were complete."""
    before = set(live_tasks(asyncio.get_running_loop()))
    with pytest.raises(ChannelMisuse, match="cancelled by a stranger"):
        async with flow(Channel()) as results:
            await asyncio.sleep(1)
            inside = set(live_tasks(asyncio.get_running_loop())) - before
            victim = max(inside, key=lambda task: int(task.get_name().rpartition("-")[2]))
            victim.cancel()
            async for _ in results:
                pass
            pytest.fail("it looks complete")
    assert set(live_tasks(asyncio.get_running_loop())) == before
