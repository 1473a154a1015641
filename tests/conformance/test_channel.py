"""Go's cases for channels, each under the name of what it checks.

Ported as cases, not as code, from `src/runtime/chan_test.go` and `test/chan/`
of Go 1.19 (BSD-3); each docstring names its origin.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backstay import Channel, select
from backstay.channels import RecvOnly, SendOnly
from backstay.errors import ChannelClosed, WouldBlock

from .loops import assert_blocks, on_each_loop, turns

CAPACITIES = pytest.mark.parametrize("capacity", [0, 1, 2, 10, 100, 200])


def filled(capacity: int, **options: Any) -> Channel[int]:
    channel: Channel[int] = Channel(capacity, **options)
    for number in range(capacity):
        channel.send_nowait(number)
    return channel


# -- TestChan --------------------------------------------------------------------


@CAPACITIES
@on_each_loop
async def test_receive_from_empty_blocks(capacity: int) -> None:
    """TestChan: both forms of receive wait on an empty channel."""
    channel: Channel[int] = Channel(capacity)
    await assert_blocks(channel.recv())
    await assert_blocks(channel.recv2())
    await assert_blocks(channel.recv_many(2))
    assert channel.statistics().receivers == 0


@CAPACITIES
@on_each_loop
async def test_nonblocking_receive_from_empty_does_not(capacity: int) -> None:
    """TestChan: it says so at once, as a call and as a select with default."""
    channel: Channel[int] = Channel(capacity)
    with pytest.raises(WouldBlock):
        channel.recv_nowait()
    assert (await select(channel, default=True)).index == -1


@CAPACITIES
@on_each_loop
async def test_send_to_full_blocks(capacity: int) -> None:
    """TestChan: and what is cancelled then was not sent."""
    channel = filled(capacity)
    await assert_blocks(channel.send(-1))
    assert len(channel) == capacity
    assert [channel.recv_nowait() for _ in range(capacity)] == list(range(capacity))


@CAPACITIES
@on_each_loop
async def test_nonblocking_send_to_full_does_not(capacity: int) -> None:
    """TestChan: it says so at once, as a call and as a select with default."""
    channel = filled(capacity)
    with pytest.raises(WouldBlock):
        channel.send_nowait(-1)
    assert (await select((channel, -1), default=True)).index == -1
    assert len(channel) == capacity


@CAPACITIES
@on_each_loop
async def test_receive_from_closed_is_the_end_at_once(capacity: int) -> None:
    """TestChan: what was buffered comes first, with ok; then there is no more, for ever."""
    channel = filled(capacity)
    channel.close()
    for number in range(capacity):
        assert await channel.recv2() == (number, True)
    for _ in range(3):
        assert await channel.recv2() == (None, False)
        assert await channel.recv_many(5) == []
        with pytest.raises(ChannelClosed):
            await channel.recv()
        with pytest.raises(ChannelClosed):
            channel.recv_nowait()


@CAPACITIES
@on_each_loop
async def test_close_unblocks_receivers(capacity: int) -> None:
    """TestChan: every waiting receiver learns of the end."""
    channel: Channel[int] = Channel(capacity)
    waiting = [asyncio.ensure_future(channel.recv2()) for _ in range(3)]
    raising = [asyncio.ensure_future(channel.recv()) for _ in range(3)]
    await turns()
    channel.close()
    assert await asyncio.gather(*waiting) == [(None, False)] * 3
    assert [type(e) for e in await asyncio.gather(*raising, return_exceptions=True)] == [
        ChannelClosed
    ] * 3


@CAPACITIES
@on_each_loop
async def test_a_hundred_items_arrive_in_order(capacity: int) -> None:
    """TestChan: first in, first out, for every way to receive."""
    channel: Channel[int] = Channel(capacity)

    async def produce() -> None:
        for number in range(400):
            await channel.send(number)
        channel.close()

    producer = asyncio.ensure_future(produce())
    seen = [await channel.recv() for _ in range(100)]
    for _ in range(100):
        item, ok = await channel.recv2()
        assert ok
        assert item is not None
        seen.append(item)
    while len(seen) < 300:
        seen += await channel.recv_many(min(7, 300 - len(seen)))
    seen += [item async for item in channel]
    assert seen == list(range(400))
    await producer


@CAPACITIES
@on_each_loop
async def test_all_items_of_four_senders_reach_four_receivers(capacity: int) -> None:
    """TestChan: nothing is lost, nothing arrives twice."""
    channel: Channel[int] = Channel(capacity)
    seen: list[int] = []

    async def send() -> None:
        for number in range(250):
            await channel.send(number)

    async def receive() -> None:
        for _ in range(250):
            seen.append(await channel.recv())

    await asyncio.gather(*[send() for _ in range(4)], *[receive() for _ in range(4)])
    assert sorted(seen) == sorted(list(range(250)) * 4)
    assert len(channel) == 0


@CAPACITIES
@on_each_loop
async def test_len_counts_items_and_capacity_stays(capacity: int) -> None:
    """TestChan, chancap.go: len and cap."""
    channel: Channel[int] = Channel(capacity)
    for number in range(capacity):
        assert len(channel) == number
        await channel.send(number)
    assert (len(channel), channel.capacity) == (capacity, capacity)
    assert channel


def test_a_negative_capacity_is_refused() -> None:
    """chancap.go: an error that shows the number."""
    with pytest.raises(ValueError, match="-1"):
        Channel(-1)


# -- closing ---------------------------------------------------------------------


@CAPACITIES
@on_each_loop
async def test_send_to_closed_raises(capacity: int) -> None:
    """closedchan.go: all forms of send, room or not."""
    channel: Channel[int] = Channel(capacity, name="orders")
    channel.close()
    with pytest.raises(ChannelClosed, match="orders"):
        await channel.send(1)
    with pytest.raises(ChannelClosed):
        channel.send_nowait(1)
    with pytest.raises(ChannelClosed):
        await select((channel, 1))
    with pytest.raises(ChannelClosed):
        await select((channel, 1), default=True)


@CAPACITIES
@on_each_loop
async def test_closing_twice_raises(capacity: int) -> None:
    """closedchan.go: the second close is a bug somewhere."""
    channel: Channel[int] = Channel(capacity)
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.close()


@CAPACITIES
@on_each_loop
async def test_close_with_blocked_senders_raises_in_them(capacity: int) -> None:
    """chan.go, closechan: senders that wait raise; what is buffered stays."""
    channel = filled(capacity)
    senders = [asyncio.ensure_future(channel.send(-1)) for _ in range(3)]
    await turns()
    channel.close()
    errors = await asyncio.gather(*senders, return_exceptions=True)
    assert [type(error) for error in errors] == [ChannelClosed] * 3
    assert [item async for item in channel] == list(range(capacity))


# -- rendezvous and order -----------------------------------------------------------


@on_each_loop
async def test_an_unbuffered_send_returns_when_the_item_was_taken() -> None:
    """The spec, "Channel types": without a buffer both sides must be ready."""
    channel: Channel[int] = Channel()
    send = asyncio.ensure_future(channel.send(1))
    await turns()
    assert not send.done()
    assert len(channel) == 0
    assert await channel.recv() == 1
    await send


@on_each_loop
async def test_a_receive_moves_the_first_blocked_sender_into_the_buffer() -> None:
    """chan.go, recv: order is first in, first out over buffer and senders."""
    channel = filled(2)
    senders = [asyncio.ensure_future(channel.send(number)) for number in (2, 3)]
    await turns()
    assert await channel.recv() == 0
    assert len(channel) == 2
    await turns()
    assert [sender.done() for sender in senders] == [True, False]
    assert [await channel.recv() for _ in range(3)] == [1, 2, 3]
    await asyncio.gather(*senders)


@pytest.mark.parametrize("capacity", [0, 1])
@on_each_loop
async def test_receivers_are_served_in_their_order(capacity: int) -> None:
    """fifo.go, asynch and synch: the first who waits is the first who gets."""
    channel: Channel[int] = Channel(capacity)
    got: list[tuple[int, int]] = []

    async def receive(number: int) -> None:
        got.append((number, await channel.recv()))

    receivers = [asyncio.ensure_future(receive(number)) for number in range(10)]
    await turns()
    for number in range(10):
        await channel.send(number)
    await asyncio.gather(*receivers)
    assert got == [(number, number) for number in range(10)]


@pytest.mark.parametrize("capacity", [0, 1])
@on_each_loop
async def test_senders_are_served_in_their_order(capacity: int) -> None:
    """fifo.go: the same for those who send."""
    channel = filled(capacity)
    senders = [asyncio.ensure_future(channel.send(100 + number)) for number in range(10)]
    await turns()
    seen = [await channel.recv() for _ in range(capacity + 10)]
    assert seen[capacity:] == [100 + number for number in range(10)]
    await asyncio.gather(*senders)


# -- items ---------------------------------------------------------------------------


@CAPACITIES
@on_each_loop
async def test_any_object_is_an_item(capacity: int) -> None:
    """TestChanSendInterface, zerosize.go, sendstmt.go: None, falsy things and channels too."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("items are nobody's to compare")

        __hash__ = None  # type: ignore[assignment]

    items = [None, False, 0, "", (), [], Odd(), Channel(), asyncio.CancelledError, (1, 2, 3)]
    channel: Channel[object] = Channel(capacity)

    async def produce() -> None:
        for item in items:
            await channel.send(item)

    producer = asyncio.ensure_future(produce())
    await turns()
    for item in items:
        received, ok = await channel.recv2()
        assert received is item
        assert ok
    await producer


@on_each_loop
async def test_closed_with_none_in_it_tells_none_from_the_end() -> None:
    """range.go, closedchan.go: only `ok` tells a zero value from the end, so it must."""
    channel: Channel[None] = Channel(2)
    await channel.send(None)
    channel.close()
    assert await channel.recv2() == (None, True)
    assert await channel.recv2() == (None, False)


# -- range ---------------------------------------------------------------------------


@CAPACITIES
@on_each_loop
async def test_iteration_drains_and_ends(capacity: int) -> None:
    """range.go: `for v := range c`."""
    channel: Channel[int] = Channel(capacity)

    async def produce() -> None:
        for number in range(16):
            await channel.send(number)
        channel.close()

    producer = asyncio.ensure_future(produce())
    assert [item async for item in channel] == list(range(16))
    assert [item async for item in channel] == []
    await producer


@CAPACITIES
@on_each_loop
async def test_leaving_an_iteration_loses_nothing(capacity: int) -> None:
    """select8.go, range.go: a break takes no item with it."""
    channel: Channel[int] = Channel(capacity)

    async def produce() -> None:
        for number in range(9):
            await channel.send(number)
        channel.close()

    producer = asyncio.ensure_future(produce())
    seen: list[int] = []
    for _ in range(3):
        async for item in channel:
            seen.append(item)
            if len(seen) % 3 == 0:
                break
    assert seen == list(range(9))
    await producer


# -- programs ----------------------------------------------------------------------


@CAPACITIES
@on_each_loop
async def test_many_consumers_of_one_channel_do_all_the_work(capacity: int) -> None:
    """TestMultiConsumer: 23 workers between two channels, their sum is right."""
    jobs: Channel[int] = Channel(capacity)
    results: Channel[int] = Channel(capacity)
    numbers = [2, 3, 7, 11, 13, 17, 19, 23, 27, 31] * 10

    async def work() -> None:
        async for job in jobs:
            await results.send(job)

    async def feed() -> None:
        for number in numbers:
            await jobs.send(number)
        jobs.close()

    async def run_all() -> None:
        await asyncio.gather(feed(), *[work() for _ in range(23)])
        results.close()

    running = asyncio.ensure_future(run_all())
    assert sum([result async for result in results]) == sum(numbers)
    await running


@on_each_loop
async def test_a_channel_travels_through_a_channel() -> None:
    """ken/chan.go, ken/chan1.go: a request that carries where its answer goes."""
    requests: Channel[tuple[int, SendOnly[int]]] = Channel()

    async def serve() -> None:
        async for number, answer in requests:
            await answer.send(number * number)

    server = asyncio.ensure_future(serve())
    for number in range(20):
        answer: Channel[int] = Channel()
        await requests.send((number, answer.send_only))
        assert await answer.recv() == number * number
    requests.close()
    await server


@on_each_loop
async def test_the_ends_have_only_their_own_methods() -> None:
    """perm.go: what a type checker refuses is not there at run time either."""
    channel: Channel[int] = Channel(1)
    sending: SendOnly[int] = channel.send_only
    receiving: RecvOnly[int] = channel.recv_only
    await sending.send(1)
    assert await receiving.recv() == 1
    for name in ("recv", "recv2", "recv_many", "recv_nowait", "__aiter__"):
        assert not hasattr(sending, name)
    for name in ("send", "send_nowait", "close"):
        assert not hasattr(receiving, name)
    with pytest.raises(TypeError, match="case of select"):
        await select(sending)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="case of select"):
        await select((receiving, 1))  # type: ignore[arg-type]
