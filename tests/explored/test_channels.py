"""Channels and select under thousands of schedules, with cancellations.

What must hold whatever strikes: no item is lost, none arrives twice, each
sender's items keep their order for a single receiver, everybody who can go on
does, and nobody is left in a line.
"""

from __future__ import annotations

import asyncio

import pytest
from channel_ledger import Item, Ledger, ended, finish, start

from backstay import Channel, select
from backstay.channels import Selected
from backstay.errors import ChannelClosed

FULL = 20_000
QUICK = 300


@pytest.mark.parametrize("capacity", [0, 1, 2])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_everything_sent_arrives_once(capacity: int) -> None:
    """Two senders and two receivers, all of whom may be cancelled at every wait."""
    ledger, channel = Ledger(), Channel[Item](capacity)
    senders = start(ledger.send(0, channel), ledger.send(1, channel))
    receivers = start(ledger.receive(channel), ledger.iterate(channel))
    await finish(ledger, senders, receivers, channel)


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.explore(schedules=FULL // 4, quick=QUICK, cancel="systematic")
async def test_a_cancel_at_each_wait_in_turn(capacity: int) -> None:
    """The same with batches, one cancel at every place there is."""
    ledger, channel = Ledger(), Channel[Item](capacity)
    senders = start(ledger.send(0, channel), ledger.send(1, channel))
    receivers = start(ledger.receive_batches(channel), ledger.receive(channel))
    await finish(ledger, senders, receivers, channel)


@pytest.mark.parametrize("capacity", [0, 1, 2])
@pytest.mark.explore(schedules=FULL // 4, quick=QUICK, strategy="pct")
async def test_bounded_preemptions_find_nothing(capacity: int) -> None:
    """The same under the strategy that is good at rare orders, with a select among the receivers."""
    ledger, channel = Ledger(), Channel[Item](capacity)
    senders = start(ledger.send(0, channel), ledger.send(1, channel))
    receivers = start(ledger.receive_by_select(channel), ledger.receive(channel))
    await finish(ledger, senders, receivers, channel)


@pytest.mark.parametrize("capacity", [0, 1, 2])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_single_receiver_sees_each_sender_in_order(capacity: int) -> None:
    """Receivers that are cancelled and replaced, one at a time: order holds over all of them."""
    ledger, channel = Ledger(), Channel[Item](capacity)
    senders = start(ledger.send(0, channel, 3), ledger.send(1, channel, 2))
    while not all(sender.done() for sender in senders) or len(channel):
        if not len(channel) and all(sender.done() for sender in senders):
            break
        (receiver,) = start(ledger.receive(channel))
        for _ in range(3):
            await asyncio.sleep(0)
        receiver.cancel()
        await asyncio.wait([receiver])
    await ended(senders)
    ledger.check(channel)
    for me in (0, 1):
        mine = [number for sender, number in ledger.got if sender == me]
        assert mine == sorted(mine), f"out of order: {ledger.got}"


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_select_takes_one_and_loses_none(capacity: int) -> None:
    """Two selecting receivers on two channels, plain and selecting senders, cancelled anywhere."""
    ledger = Ledger()
    one, two = Channel[Item](capacity), Channel[Item]()
    senders = start(
        ledger.send(0, one), ledger.send(1, two), ledger.send_by_select(2, one, two, count=1)
    )
    receivers = start(ledger.receive_by_select(one, two), ledger.receive_by_select(two, one))
    await finish(ledger, senders, receivers, one, two)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_selects_that_send_and_receive_meet_each_other() -> None:
    """Three tasks send to and receive from one unbuffered channel: sends and receives are pairs."""
    channel: Channel[Item] = Channel()
    sends, receives = [0] * 3, [0] * 3

    async def play(me: int) -> None:
        for number in range(2):
            picked = await select(channel, (channel, (me, number)))
            if picked.index == 0:
                # An item of an earlier select may come back, from one who was cancelled with it.
                assert picked.value != (me, number), "it received what it was sending"
                receives[picked.value[0]] += 1
            else:
                sends[me] += 1

    players = start(play(0), play(1), play(2))
    for _ in range(200):
        if all(player.done() for player in players):
            break
        await asyncio.sleep(0)
        if channel.statistics().receivers == sum(not player.done() for player in players) == 1:
            players[
                [player.done() for player in players].index(False)
            ].cancel()  # left without partner
    while len(channel):  # given back by one who was cancelled with it
        receives[channel.recv_nowait()[0]] += 1
    await ended(players)
    # A sender that was cancelled after its item was taken does not count its send.
    assert all(0 <= receives[me] - sends[me] <= 1 for me in range(3))
    assert not channel._receivers
    assert not channel._senders


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_close_at_any_moment_ends_everybody(capacity: int) -> None:
    """Senders raise or were through, receivers end, selects see it; what was sent is drained."""
    ledger, channel, quiet = Ledger(), Channel[Item](capacity), Channel[Item]()
    tasks = start(
        ledger.send(0, channel),
        ledger.send_by_select(1, channel, quiet),
        ledger.receive(channel),
        ledger.receive_by_select(channel),
    )

    async def close() -> None:
        await asyncio.sleep(0)
        channel.close()

    closing = asyncio.ensure_future(close())
    await asyncio.wait([closing])
    if closing.cancelled():
        channel.close()
    await ended(tasks, ChannelClosed)
    while ledger.take(channel):
        pass
    ledger.check(channel, quiet)


@pytest.mark.explore(schedules=FULL // 4, quick=QUICK, cancel=True)
async def test_a_given_back_item_wakes_the_next() -> None:
    """One item, two receivers that wait, either of them may be cancelled: the other one has it."""
    channel: Channel[str] = Channel()
    got: list[str] = []

    async def receive() -> None:
        got.append(await channel.recv())

    async def receive_by_select() -> None:
        picked: Selected = await select(channel, Channel())
        got.append(picked.value)

    receivers = start(receive(), receive_by_select())
    (sent,) = start(channel.send("precious"))
    for _ in range(20):
        await asyncio.sleep(0)
    if not got and not sent.cancelled():
        assert all(receiver.cancelled() for receiver in receivers), "it waits beside its item"
        assert channel.recv_nowait() == "precious"
    for task in (sent, *receivers):
        task.cancel()
    await asyncio.wait([sent, *receivers])
    assert not channel._receivers
    assert not channel._senders
