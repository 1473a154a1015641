"""What Go does not have: cancellation, time-outs, several loops, and waiters that vanish.

The belief behind all of them: no item is lost, none arrives twice, and nobody
stands in a line who does not wait.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backstay import Channel, Scope, after, select, timeout
from backstay.errors import ChannelClosed, ChannelMisuse

from .loops import on_each_loop, turns

CAPACITIES = pytest.mark.parametrize("capacity", [0, 1, 3])
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["one loop", "shared"])


async def recv2(channel: Channel[Any]) -> Any:
    return (await channel.recv2())[0]


async def recv_many(channel: Channel[Any]) -> Any:
    return (await channel.recv_many(5))[0]


async def by_iteration(channel: Channel[Any]) -> Any:
    return await channel.__anext__()


async def by_select(channel: Channel[Any]) -> Any:
    return (await select(Channel(), channel, after(60))).value


async def by_mixed_select(channel: Channel[Any]) -> Any:
    return (await select(Channel(shared=True), channel)).value


RECEIVES = pytest.mark.parametrize(
    "receive",
    [Channel.recv, recv2, recv_many, by_iteration, by_select, by_mixed_select],
    ids=["recv", "recv2", "recv_many", "iteration", "select", "mixed select"],
)


def nobody_waits(channel: Channel[Any]) -> bool:
    stats = channel.statistics()
    return stats.receivers == stats.senders == 0


async def cancelled(task: asyncio.Task[Any]) -> bool:
    await asyncio.wait([task])
    return task.cancelled()


# -- receivers ---------------------------------------------------------------------


@SHARED
@CAPACITIES
@RECEIVES
@on_each_loop
async def test_an_item_handed_to_a_cancelled_receiver_is_not_lost(
    receive: Callable[[Channel[Any]], Awaitable[Any]], capacity: int, shared: bool
) -> None:
    """Handed over and cancelled in the same turn: the item comes out at the next receive."""
    for _ in range(10):
        channel: Channel[str] = Channel(capacity, shared=shared)
        receiver = asyncio.ensure_future(receive(channel))
        await turns()
        await channel.send("precious")
        receiver.cancel()
        assert await cancelled(receiver)
        assert len(channel) == 1
        assert await channel.recv() == "precious"
        assert nobody_waits(channel)


@SHARED
@RECEIVES
@on_each_loop
async def test_a_returned_item_goes_to_the_next_in_line(
    receive: Callable[[Channel[Any]], Awaitable[Any]], shared: bool
) -> None:
    """Nobody has to come again for it: who waits already gets it."""
    channel: Channel[str] = Channel(shared=shared)
    first = asyncio.ensure_future(receive(channel))
    await turns()
    second = asyncio.ensure_future(receive(channel))
    await turns()
    await channel.send("precious")
    first.cancel()
    assert await cancelled(first)
    assert await second == "precious"


@SHARED
@CAPACITIES
@on_each_loop
async def test_several_returned_items_keep_their_order(capacity: int, shared: bool) -> None:
    """Two receivers are handed items and cancelled, then two more items come: order holds."""
    channel: Channel[int] = Channel(capacity, shared=shared)
    receivers = [asyncio.ensure_future(channel.recv()) for _ in range(3)]
    await turns()
    for number in range(3):
        await channel.send(number)
    behind = [asyncio.ensure_future(channel.send(number)) for number in range(3, 6)]
    for receiver in receivers:
        receiver.cancel()
    await asyncio.wait(receivers)
    assert [await channel.recv() for _ in range(6)] == list(range(6))
    await asyncio.gather(*behind)
    assert nobody_waits(channel)


@SHARED
@RECEIVES
@on_each_loop
async def test_a_receiver_cancelled_while_it_waits_leaves_the_line(
    receive: Callable[[Channel[Any]], Awaitable[Any]], shared: bool
) -> None:
    """The next item goes to the one behind it."""
    channel: Channel[int] = Channel(shared=shared)
    first, second = (asyncio.ensure_future(receive(channel)) for _ in range(2))
    await turns()
    first.cancel()
    assert await cancelled(first)
    await channel.send(7)
    assert await second == 7
    assert nobody_waits(channel)


@SHARED
@RECEIVES
@on_each_loop
async def test_a_receiver_cancelled_after_the_close_returns_nothing(
    receive: Callable[[Channel[Any]], Awaitable[Any]], shared: bool
) -> None:
    """The end of the stream is no item, and is not given back."""
    channel: Channel[int] = Channel(shared=shared)
    receiver = asyncio.ensure_future(receive(channel))
    await turns()
    channel.close()
    receiver.cancel()
    assert await cancelled(receiver)
    assert len(channel) == 0
    assert await channel.recv2() == (None, False)


@pytest.mark.parametrize("how", ["asyncio.timeout", "wait_for", "backstay.timeout", "cancel(msg)"])
@RECEIVES
@on_each_loop
async def test_no_way_to_cancel_loses_an_item(
    receive: Callable[[Channel[Any]], Awaitable[Any]], how: str
) -> None:
    """Time-outs that strike in the very turn in which the item is handed over."""
    channel: Channel[int] = Channel(1)
    got: list[int] = []

    async def wait() -> None:
        if how == "asyncio.timeout":
            async with asyncio.timeout(0.002):
                got.append(await receive(channel))
        elif how == "wait_for":
            got.append(await asyncio.wait_for(receive(channel), 0.002))
        elif how == "backstay.timeout":
            async with timeout(0.002):
                got.append(await receive(channel))
        else:
            got.append(await receive(channel))

    for number in range(8):
        waiting = asyncio.ensure_future(wait())
        await turns(5)
        if how == "cancel(msg)":
            channel.send_nowait(number)
            waiting.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await waiting
        else:
            time.sleep(0.003)  # now the time-out and the item are due in the same turn
            channel.send_nowait(number)
            ended = (await asyncio.gather(waiting, return_exceptions=True))[0]
            assert ended is None or isinstance(ended, TimeoutError)
        while len(channel):
            got.append(channel.recv_nowait())
        assert nobody_waits(channel)
    assert got == list(range(8))


# -- senders -------------------------------------------------------------------------


async def send_by_select(channel: Channel[Any], item: Any) -> None:
    assert (await select(Channel(), (channel, item))).ok


SENDS = pytest.mark.parametrize("send", [Channel.send, send_by_select], ids=["send", "select"])


@SHARED
@CAPACITIES
@SENDS
@on_each_loop
async def test_a_sender_cancelled_while_it_waits_has_not_sent(
    send: Callable[[Channel[Any], Any], Awaitable[Any]], capacity: int, shared: bool
) -> None:
    """Its item does not appear, and those behind it move up."""
    channel: Channel[int] = Channel(capacity, shared=shared)
    for number in range(capacity):
        channel.send_nowait(number)
    first = asyncio.ensure_future(send(channel, -1))
    await turns()
    second = asyncio.ensure_future(send(channel, capacity))
    await turns()
    first.cancel()
    assert await cancelled(first)
    assert [await channel.recv() for _ in range(capacity + 1)] == list(range(capacity + 1))
    await second
    assert nobody_waits(channel)


@SHARED
@CAPACITIES
@SENDS
@on_each_loop
async def test_a_sender_cancelled_after_its_item_was_taken_has_sent_it_once(
    send: Callable[[Channel[Any], Any], Awaitable[Any]], capacity: int, shared: bool
) -> None:
    """Taken is taken: the item arrives once, though the sender is told of the cancel."""
    channel: Channel[int] = Channel(capacity, shared=shared)
    for number in range(capacity):
        channel.send_nowait(number)
    sender = asyncio.ensure_future(send(channel, capacity))
    await turns()
    received = [await channel.recv()]
    sender.cancel()
    assert await cancelled(sender)
    while len(channel):
        received.append(await channel.recv())
    assert received == list(range(capacity + 1))
    assert nobody_waits(channel)


@SHARED
@SENDS
@on_each_loop
async def test_a_sender_cancelled_after_the_close_just_ends(
    send: Callable[[Channel[Any], Any], Awaitable[Any]], shared: bool
) -> None:
    """Closed and cancelled in one turn: cancelled it is, and nothing is left behind."""
    channel: Channel[int] = Channel(shared=shared)
    sender = asyncio.ensure_future(send(channel, 1))
    await turns()
    channel.close()
    sender.cancel()
    assert await cancelled(sender)
    assert nobody_waits(channel)


# -- select ----------------------------------------------------------------------------


@SHARED
@on_each_loop
async def test_a_cancelled_select_leaves_every_line(shared: bool) -> None:
    """Cancelled while parked on sends and receives: the lines are empty."""
    channels: list[Channel[int]] = [Channel(shared=shared) for _ in range(4)]
    parked = asyncio.ensure_future(select(channels[0], channels[1], (channels[2], 1), channels[3]))
    await turns()
    assert not nobody_waits(channels[2])
    parked.cancel()
    assert await cancelled(parked)
    assert all(nobody_waits(channel) for channel in channels)
    assert all(not channel._receivers and not channel._senders for channel in channels)


@SHARED
@on_each_loop
async def test_a_timed_out_select_takes_no_item(shared: bool) -> None:
    """The time-out is a case like any other, and the losing channel keeps its next item."""
    channel: Channel[int] = Channel(shared=shared)
    assert (await select(channel, after(0.001))).index == 1
    sender = asyncio.ensure_future(channel.send(1))
    await turns()
    assert not sender.done()
    assert await channel.recv() == 1
    await sender


@SHARED
@on_each_loop
async def test_a_select_served_twice_takes_one_item(shared: bool) -> None:
    """Two senders meet the same parked select in one turn; the second one goes on waiting."""
    one: Channel[int] = Channel(shared=shared)
    two: Channel[int] = Channel()
    parked = asyncio.ensure_future(select(one, two))
    await turns()
    senders = [asyncio.ensure_future(one.send(1)), asyncio.ensure_future(two.send(2))]
    index, value, ok = await parked
    assert (index, value, ok) == (0, 1, True)
    await turns()
    assert [sender.done() for sender in senders] == [True, False]
    assert await two.recv() == 2
    await senders[1]


@on_each_loop
async def test_a_scope_that_is_cut_short_loses_nothing() -> None:
    """Workers are cancelled in the middle of a stream; what they had not received is still there."""
    channel: Channel[int] = Channel(2)
    received: list[int] = []
    sent: list[int] = []

    async def produce() -> None:
        for number in range(200):
            await channel.send(number)
            sent.append(number)

    async def consume() -> None:
        async for item in channel:
            received.append(item)
            await asyncio.sleep(0)

    producer = asyncio.ensure_future(produce())
    for _ in range(10):
        async with Scope("workers") as scope:
            for _ in range(3):
                scope.go(consume)
            await turns(7)
            scope.cancel("enough")
    while not producer.done() or len(channel):
        received.append(await channel.recv())
    assert sorted(received) == list(range(200))
    assert sent == list(range(200))


# -- waiters that vanish -----------------------------------------------------------------


@SHARED
@on_each_loop
async def test_a_coroutine_closed_while_it_waits_is_skipped(shared: bool) -> None:
    """Somebody drives coroutines by hand and closes them: the item goes to who really waits."""
    for make in (lambda c: c.recv(), lambda c: select(c, Channel())):
        channel: Channel[int] = Channel(shared=shared)
        stray = make(channel)
        stray.send(None)
        receiver = asyncio.ensure_future(channel.recv())
        await turns()
        stray.close()
        await channel.send(1)
        assert await receiver == 1
        assert nobody_waits(channel)


@SHARED
@on_each_loop
async def test_a_closed_coroutine_that_sends_has_not_sent(shared: bool) -> None:
    """The same for a sender."""
    for make in (lambda c: c.send(-1), lambda c: select((c, -1), Channel())):
        channel: Channel[int] = Channel(shared=shared)
        stray = make(channel)
        stray.send(None)
        stray.close()
        sender = asyncio.ensure_future(channel.send(1))
        await turns()
        assert await channel.recv() == 1
        await sender


@on_each_loop
async def test_a_forgotten_channel_and_its_waiter_are_collected() -> None:
    """A task parked on a channel that nobody can reach any more does not stay for ever."""
    channel: Channel[int] = Channel()
    gone = weakref.ref(channel)

    async def wait(on: Channel[int]) -> None:
        await on.recv()

    task = asyncio.ensure_future(wait(channel))
    await turns()
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c["message"]))
    del task, channel
    gc.collect()
    assert gone() is None
    assert complaints == ["Task was destroyed but it is pending!"]


@on_each_loop
async def test_a_received_item_is_not_kept_alive() -> None:
    """Neither a stale entry nor a waiter holds on to what went through."""

    class Item:
        pass

    quiet: Channel[Item] = Channel()
    channel: Channel[Item] = Channel()
    parked = asyncio.ensure_future(select(quiet, channel))
    await turns()
    item = Item()
    gone = weakref.ref(item)
    await channel.send(item)
    del item
    index = (await parked).index  # not inside an assert: pytest keeps the parts of those
    assert index == 1
    del parked
    await turns()  # the loop's handle that woke us holds the result
    gc.collect()
    assert gone() is None


# -- several loops -------------------------------------------------------------------------


@on_each_loop
async def test_a_channel_in_use_elsewhere_refuses() -> None:
    """Another loop may neither send, nor wait to receive, nor close; the error names the cure."""
    channel: Channel[int] = Channel(2, name="orders")
    waiting = asyncio.ensure_future(channel.recv())
    await turns()
    errors: list[BaseException] = []

    def elsewhere() -> None:
        for use in (
            lambda: channel.send(1),
            channel.recv,
            channel.recv2,
            lambda: select(channel),
            lambda: select((channel, 1), default=True),
        ):
            try:
                asyncio.run(asyncio.wait_for(use(), 1))
            except BaseException as error:
                errors.append(error)
        for use in (lambda: channel.send_nowait(1), channel.recv_nowait, channel.close):
            try:
                use()
            except BaseException as error:
                errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    assert [type(error) for error in errors] == [ChannelMisuse] * 8
    assert all("orders" in str(error) and "shared=True" in str(error) for error in errors)
    await channel.send(5)
    assert await waiting == 5


def test_a_channel_survives_one_loop_after_another() -> None:
    """Made at import time, used by one `asyncio.run` and then by the next; items stay."""
    channel: Channel[int] = Channel(2)
    channel.send_nowait(0)

    async def use(number: int) -> None:
        assert await channel.recv() == number
        receiver = asyncio.ensure_future(channel.recv())
        await turns()
        await channel.send(100)
        assert await receiver == 100
        await channel.send(number + 1)

    for number in range(3):
        asyncio.run(use(number))
    assert channel.recv_nowait() == 3


def test_waiters_of_a_dead_loop_are_forgotten() -> None:
    """A loop that was closed under its waiters does not swallow items of the next one."""
    channel: Channel[int] = Channel()
    dead = asyncio.new_event_loop()
    left = dead.create_task(channel.recv())
    dead.run_until_complete(turns())
    dead.close()

    async def use() -> None:
        receiver = asyncio.ensure_future(channel.recv())
        await turns()
        await channel.send(1)
        assert await receiver == 1

    asyncio.run(use())
    assert not left.done()
    left._log_destroy_pending = False  # type: ignore[attr-defined]


@CAPACITIES
def test_a_shared_channel_connects_loops_in_threads(capacity: int) -> None:
    """Two producing loops, two consuming loops: each item arrives once, and all see the end."""
    channel: Channel[int] = Channel(capacity, shared=True)
    done: Channel[None] = Channel(2, shared=True)
    seen: list[int] = []
    share = 300

    async def produce(base: int) -> None:
        for number in range(share):
            await channel.send(base + number)
        await done.send(None)

    async def consume() -> None:
        async for item in channel:
            seen.append(item)

    async def select_consume() -> None:
        quiet: Channel[int] = Channel()
        while True:
            _, item, ok = await select(quiet, channel)
            if not ok:
                return
            seen.append(item)

    async def end() -> None:
        await done.recv()
        await done.recv()
        channel.close()

    mains = [lambda: produce(0), lambda: produce(share), consume, select_consume, end]
    threads = [threading.Thread(target=lambda main=main: asyncio.run(main())) for main in mains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(seen) == list(range(2 * share))


def test_cancels_across_threads_lose_nothing() -> None:
    """A consumer in another thread gives up again and again; each item arrives all the same."""
    channel: Channel[int] = Channel(shared=True)
    seen: list[int] = []
    total = 300

    async def produce() -> None:
        for number in range(total):
            await channel.send(number)
        channel.close()

    async def consume() -> None:
        while True:
            task = asyncio.ensure_future(channel.recv2())
            await turns(2)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                continue
            item, ok = task.result()
            if not ok:
                return
            seen.append(item)  # type: ignore[arg-type]

    threads = [threading.Thread(target=lambda m=m: asyncio.run(m())) for m in (produce, consume)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert seen == list(range(total))


def test_a_waiter_whose_loop_is_gone_is_skipped_by_a_shared_channel() -> None:
    """The item of a living sender goes to a living receiver."""
    channel: Channel[int] = Channel(shared=True)
    dead = asyncio.new_event_loop()
    left = dead.create_task(channel.recv())
    dead.run_until_complete(turns())
    dead.close()

    async def use() -> None:
        receiver = asyncio.ensure_future(channel.recv())
        await turns()
        await channel.send(1)
        assert await receiver == 1

    asyncio.run(use())
    left._log_destroy_pending = False  # type: ignore[attr-defined]


@on_each_loop
async def test_closed_during_the_wait_for_a_turn_is_noticed() -> None:
    """The budget makes an operation yield; what happens meanwhile counts."""
    channel: Channel[int] = Channel(1)
    with pytest.raises(ChannelClosed):
        asyncio.get_running_loop().call_soon(channel.close)
        while True:
            await channel.send(1)
            await channel.recv()
