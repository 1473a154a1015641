"""What a channel promises beside Go's cases: budget, name, statistics, refusals."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from backstay import Channel, select
from backstay.channels import ChannelStatistics
from backstay.errors import BackstayError, ChannelClosed, ChannelMisuse, WouldBlock
from backstay.sync._wake_queue import FAST_OPS


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def count_turns(body: Any) -> int:
    """Count how often the loop turned while `body` ran."""
    seen = 0

    async def tick() -> None:
        nonlocal seen
        while True:
            await asyncio.sleep(0)
            seen += 1

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await body
    ticking.cancel()
    return seen


# -- the budget --------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [1, 64, 128, 100_000])
async def test_a_loop_that_never_waits_lets_others_run(capacity: int) -> None:
    """Send to yourself and receive, 3,000 times: the loop turns every few hundred operations."""
    channel: Channel[int] = Channel(capacity)

    async def spin() -> None:
        for number in range(3000):
            await channel.send(number)
            assert await channel.recv() == number

    assert await count_turns(spin()) >= 3000 // (2 * FAST_OPS)


@pytest.mark.parametrize("way", ["send", "recv", "recv2", "iteration", "select", "select send"])
async def test_every_way_through_a_large_buffer_lets_others_run(way: str) -> None:
    """Filling and draining 3,000 places without waiting is no reason to hold the loop."""
    channel: Channel[int] = Channel(3000)
    if "send" not in way:
        for number in range(3000):
            channel.send_nowait(number)
        channel.close()

    async def run() -> None:
        if way == "iteration":
            assert [item async for item in channel] == list(range(3000))
            return
        for number in range(3000):
            if way == "send":
                await channel.send(number)
            elif way == "select send":
                await select((channel, number))
            elif way == "recv":
                assert await channel.recv() == number
            elif way == "recv2":
                assert await channel.recv2() == (number, True)
            else:
                assert await select(channel, None) == (0, number, True)

    assert await count_turns(run()) >= 3000 // (2 * FAST_OPS)


async def test_a_second_burst_into_a_large_buffer_is_counted_again() -> None:
    """What was drained in between does not make room for one uncounted burst."""
    channel: Channel[int] = Channel(3000)
    for _ in range(3):

        async def fill() -> None:
            for number in range(3000):
                await channel.send(number)

        assert await count_turns(fill()) >= 3000 // (2 * FAST_OPS)
        for _ in range(3000):
            await channel.recv()


async def test_draining_a_full_buffer_of_128_costs_no_turn() -> None:
    """The usual batch fits into one step."""
    channel: Channel[int] = Channel(128)
    for number in range(128):
        channel.send_nowait(number)

    async def drain() -> None:
        for _ in range(128):
            await channel.recv()

    await asyncio.sleep(0)
    assert await count_turns(drain()) == 0


async def test_hand_overs_are_counted_too() -> None:
    """A sender that always finds somebody waiting pauses now and then."""
    channel: Channel[int] = Channel()
    receivers = [asyncio.create_task(channel.recv()) for _ in range(1000)]
    await turns()

    async def send() -> None:
        for number in range(1000):
            await channel.send(number)

    assert await count_turns(send()) >= 4
    assert await asyncio.gather(*receivers) == list(range(1000))


async def test_a_close_while_the_budget_makes_it_wait_counts() -> None:
    """A pause comes before the operation, so what happens during it is seen."""
    channel: Channel[int] = Channel(1)
    channel.send_nowait(1)
    channel._wakes.credit = 0
    receiver = asyncio.create_task(channel.recv())
    await asyncio.sleep(0)
    assert channel.recv_nowait() == 1
    channel.close()
    with pytest.raises(ChannelClosed):
        await receiver


async def test_an_item_gone_while_the_budget_makes_it_wait_is_waited_for() -> None:
    """Somebody else took it during the pause: stand in line, in all ways to receive."""
    for receive in (Channel.recv, Channel.recv2):
        channel: Channel[int] = Channel(1)
        channel.send_nowait(1)
        channel._wakes.credit = 0
        receiver = asyncio.create_task(receive(channel))
        await asyncio.sleep(0)
        assert channel.recv_nowait() == 1
        await turns()
        await channel.send(2)
        assert await receiver in (2, (2, True))


async def test_a_cancel_while_the_budget_makes_it_wait_has_done_nothing() -> None:
    """Neither sent nor received."""
    channel: Channel[int] = Channel(2)
    channel.send_nowait(1)
    for operation in (channel.send(2), channel.recv(), select(channel), select((channel, 2))):
        channel._wakes.credit = 0
        channel._room = 0
        task = asyncio.create_task(operation)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert len(channel) == 1


# -- receiving several -----------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
async def test_a_batch_takes_what_is_there_and_no_more(shared: bool) -> None:
    """Up to the limit, across the buffer and those who wait to send; then the rest."""
    channel: Channel[int] = Channel(3, shared=shared)
    senders = [asyncio.create_task(channel.send(number)) for number in range(5)]
    await turns()
    assert await channel.recv_many(4) == [0, 1, 2, 3]
    assert await channel.recv_many(4) == [4]
    await asyncio.gather(*senders)
    waiting = asyncio.create_task(channel.recv_many(4))
    await turns()
    await channel.send(5)
    assert await waiting == [5]
    await channel.send(6)
    channel.close()
    assert await channel.recv_many(4) == [6]
    assert await channel.recv_many(4) == []


async def test_a_batch_of_nothing_is_refused() -> None:
    """It could only spin."""
    with pytest.raises(ValueError, match="1 or more items, not 0"):
        await Channel[int]().recv_many(0)


# -- looking at it -----------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
async def test_statistics_tell_who_waits(shared: bool) -> None:
    """Selects count on both sides, those who gave up do not."""
    channel: Channel[int] = Channel(1, name="jobs", shared=shared)
    channel.send_nowait(1)
    tasks = [
        asyncio.create_task(operation)
        for operation in (channel.send(2), select((channel, 3)), channel.send(4))
    ]
    await turns()
    tasks[2].cancel()
    await turns()
    assert channel.statistics() == ChannelStatistics(
        name="jobs", capacity=1, length=1, receivers=0, senders=2, closed=False, shared=shared
    )
    assert repr(channel) == "<Channel 'jobs' 1/1>"
    channel.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert repr(channel) == "<Channel 'jobs' 1/1 closed>"
    assert repr(channel.send_only) == "<send end of <Channel 'jobs' 1/1 closed>>"
    assert repr(channel.recv_only) == "<receive end of <Channel 'jobs' 1/1 closed>>"


def test_without_a_name_the_line_that_made_it_is_the_name() -> None:
    """So that an error or a dump leads somewhere."""
    channel: Channel[int] = Channel()
    assert channel.name.startswith("test_channel.py:")
    assert Channel[int](2).name.startswith("test_channel.py:"), "not a line of typing"
    assert channel.name is channel.name
    assert Channel(name="jobs").name == "jobs"


async def test_the_ends_do_what_the_channel_does() -> None:
    """Each method of an end is the channel's own."""
    channel: Channel[int] = Channel(9)
    out, into = channel.recv_only, channel.send_only
    await into.send(1)
    into.send_nowait(2)
    await into.send(3)
    await into.send(4)
    assert await select((into, 5)) == (0, None, True)
    assert await out.recv() == 1
    assert out.recv_nowait() == 2
    assert await out.recv2() == (3, True)
    assert await out.recv_many(1) == [4]
    into.close()
    assert [item async for item in out] == [5]
    assert await select(out, (None, 1)) == (0, None, False)


# -- misuse ------------------------------------------------------------------------------


async def test_refusals_say_what_to_do() -> None:
    """Each shows the channel, what was seen, and the way out."""
    channel: Channel[int] = Channel(1, name="orders")
    with pytest.raises(WouldBlock, match=r"'orders' is empty.*use recv\(\)"):
        channel.recv_nowait()
    channel.send_nowait(1)
    with pytest.raises(WouldBlock, match=r"'orders'.*1 of 1 items buffered.*use send\(\)"):
        channel.send_nowait(2)
    channel.close()
    with pytest.raises(ChannelClosed, match="close of the closed channel 'orders'"):
        channel.close()
    with pytest.raises(ChannelClosed, match="send on the closed channel 'orders'"):
        channel.send_nowait(2)
    channel.recv_nowait()
    with pytest.raises(ChannelClosed, match="receive from the closed channel 'orders'"):
        channel.recv_nowait()
    with pytest.raises(TypeError, match=r"case of select.*not 'orders'"):
        await select("orders")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="case of select"):
        await select((channel, 1, 2))  # type: ignore[arg-type]
    for error in (WouldBlock, ChannelClosed, ChannelMisuse):
        assert issubclass(error, BackstayError)


@pytest.mark.real_loop
async def test_a_thread_beside_the_loop_is_refused() -> None:
    """A call that never waits would wake a task of the loop from the wrong thread."""
    channel: Channel[int] = Channel(1)
    await channel.send(1)
    errors: list[BaseException] = []

    def beside() -> None:
        try:
            channel.recv_nowait()
        except ChannelMisuse as error:
            errors.append(error)

    thread = threading.Thread(target=beside)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert "a thread without a loop" in str(errors[0])
    assert len(channel) == 1


def test_before_and_after_the_loop_calls_that_never_wait_are_fine() -> None:
    """Filled at import time, drained after the loop has ended."""
    channel: Channel[int] = Channel(3)
    channel.send_nowait(1)

    async def use() -> None:
        assert await channel.recv() == 1
        await channel.send(2)

    asyncio.run(use())
    assert channel.recv_nowait() == 2
    channel.close()


def test_a_loop_with_somebody_waiting_keeps_its_channel() -> None:
    """Not running at this moment is not the same as done."""
    channel: Channel[int] = Channel()
    first = asyncio.new_event_loop()
    waiting = first.create_task(channel.recv())
    first.run_until_complete(turns())
    second = asyncio.new_event_loop()
    with pytest.raises(ChannelMisuse):
        second.run_until_complete(channel.recv())
    with pytest.raises(ChannelMisuse):
        second.run_until_complete(select(Channel(), channel))
    second.close()
    first.run_until_complete(channel.send(1))
    assert first.run_until_complete(waiting) == 1
    first.close()


def test_a_sender_that_must_wait_asks_where_it_is() -> None:
    """The same for the way out, on a channel whose loop is not running."""
    channel: Channel[int] = Channel()
    first = asyncio.new_event_loop()
    waiting = first.create_task(channel.send(1))
    first.run_until_complete(turns())
    second = asyncio.new_event_loop()
    with pytest.raises(ChannelMisuse):
        second.run_until_complete(channel.send(2))
    second.close()
    assert first.run_until_complete(channel.recv()) == 1
    first.run_until_complete(waiting)
    first.close()


async def test_quick_sends_stop_while_somebody_waits() -> None:
    """A parked receiver is served before the buffer, however the sends went before."""
    channel: Channel[int] = Channel(4)
    await channel.send(0)
    await channel.send(1)
    assert [await channel.recv(), await channel.recv()] == [0, 1]
    receiver = asyncio.create_task(channel.recv())
    await turns()
    await channel.send(2)
    assert len(channel) == 0
    assert await receiver == 2


async def test_quick_receives_stop_while_somebody_waits_to_send() -> None:
    """A parked sender moves up with the next receive, however the receives went before."""
    channel: Channel[int] = Channel(3)
    for number in range(3):
        await channel.send(number)
    assert await channel.recv() == 0
    await channel.send(3)
    sender = asyncio.create_task(channel.send(4))
    await turns()
    assert await channel.recv() == 1
    await turns()
    assert sender.done()
    assert [await channel.recv() for _ in range(3)] == [2, 3, 4]


async def test_an_item_that_comes_back_is_received_before_the_buffer() -> None:
    """The item was there first, although quick receives were open when it came back."""
    channel: Channel[int] = Channel(4)
    receiver = asyncio.create_task(channel.recv())
    await turns()
    for number in range(4):
        await channel.send(number)
    assert await channel.recv() == 1  # opens the quick way
    receiver.cancel()
    await turns()
    assert [await channel.recv() for _ in range(3)] == [0, 2, 3]


def test_a_select_that_must_wait_moves_its_channels_to_the_new_loop() -> None:
    """Used in one loop and then, empty and idle, in the next, by a select."""
    channel: Channel[int] = Channel(1)

    async def use() -> None:
        await channel.send(1)
        assert await channel.recv() == 1

    async def wait() -> None:
        picking = asyncio.create_task(select(None, channel, Channel()))
        await turns()
        await channel.send(2)
        assert await picking == (1, 2, True)

    asyncio.run(use())
    asyncio.run(wait())


async def test_a_shared_select_with_a_default_never_waits() -> None:
    """Nothing is ready, or something is; under the locks as without."""
    channel: Channel[int] = Channel(1, shared=True)
    assert (await select(channel, Channel(), None, default=True)).index == -1
    channel.send_nowait(1)
    assert await select(channel, default=True) == (0, 1, True)


async def test_shared_calls_that_never_wait_say_so() -> None:
    """The same refusals under the lock."""
    channel: Channel[int] = Channel(shared=True)
    with pytest.raises(WouldBlock):
        channel.send_nowait(1)
    with pytest.raises(WouldBlock):
        channel.recv_nowait()


async def test_an_iteration_over_an_end_is_over_that_end() -> None:
    """`aiter` of a view is the view."""
    out = Channel[int]().recv_only
    assert aiter(out) is out


def test_an_idle_loop_lends_its_channel_to_another() -> None:
    """Neither closed nor running, and nobody waits there: the channel may move, and move back."""
    channel: Channel[int] = Channel(2)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    for loop in (first, second, first):
        loop.run_until_complete(channel.send(1))
        receiver = loop.create_task(channel.recv_many(5))
        loop.run_until_complete(turns())
        assert receiver.result() == [1]
        waiting = loop.create_task(channel.recv())
        loop.run_until_complete(turns())
        loop.run_until_complete(channel.send(2))
        assert loop.run_until_complete(waiting) == 2
    first.close()
    second.close()
