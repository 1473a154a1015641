"""`after` and `Ticker` under thousands of schedules, with cancellations and timers that come early.

What must hold whatever strikes: a time-out takes no item with it, a moment comes
once, and whoever listens learns of the end.
"""

from __future__ import annotations

import asyncio

import pytest
from channel_ledger import Item, Ledger, ended, start

from backstay import Channel, after, select
from backstay.channels import RecvOnly, Ticker
from backstay.errors import ChannelClosed
from backstay.testing import wait_all_blocked

FULL = 20_000
QUICK = 300


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_a_time_out_takes_no_item(capacity: int) -> None:
    """Two receivers that give up after a while, at any moment: each item arrives, or is still there."""
    ledger, channel = Ledger(), Channel[Item](capacity)

    async def receive_for_a_while(seconds: float) -> None:
        while True:
            index, item, _ = await select(channel, after(seconds))
            if index == 1:
                return
            ledger.got.append(item)

    receivers = start(receive_for_a_while(0.001), receive_for_a_while(0.002))
    senders = start(ledger.send(0, channel), ledger.send(1, channel))
    await ended(receivers)
    while not all(sender.done() for sender in senders):
        ledger.take(channel)
        await asyncio.sleep(0)
    await ended(senders)
    while ledger.take(channel):
        pass
    ledger.check(channel)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_one_alarm_for_several_rings_for_one() -> None:
    """Three wait for one moment: one of them gets it, whoever is cancelled as it is handed over."""
    alarm: RecvOnly[float] = after(0.001)
    rung: list[float] = []

    async def wait() -> None:
        rung.append(await alarm.recv())

    async def wait_by_select() -> None:
        rung.append((await select(alarm, None)).value)

    waiting = start(wait(), wait_by_select(), wait())
    await asyncio.sleep(0.002)
    await wait_all_blocked()
    if not rung:
        assert all(task.cancelled() for task in waiting), "it rang, and nobody heard it"
        rung.append(alarm.recv_nowait())
    assert len(rung) == 1
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert len(rung) == 1
    assert not alarm._state._receivers


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_a_ticker_ends_for_everybody_who_listens() -> None:
    """Two listen, one by select; it is stopped at any moment, and both end and have seen each tick once."""
    seen: list[float] = []
    ticker = Ticker(0.001)

    async def iterate() -> None:
        async for moment in ticker:
            seen.append(moment)

    async def listen_by_select() -> None:
        while True:
            _, moment, ok = await select(ticker, None)
            if not ok:
                return
            seen.append(moment)

    async with ticker:
        listening = start(iterate(), listen_by_select())
        await asyncio.sleep(0.0025)
    await asyncio.wait(listening)
    await ended(listening)
    counted = ticker.statistics()
    left = 0
    try:
        while True:
            ticker.recv_nowait()
            left += 1
    except ChannelClosed:
        pass
    assert counted.stopped
    # What two cancelled listeners gave back stands beside the one place of the ticker.
    assert len(seen) + left + counted.missed == counted.ticks
    assert ticker._timer is None
    assert not ticker._state._receivers


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_a_reset_leaves_one_beat() -> None:
    """The beat is changed while somebody listens: the old timer is gone, the new one comes."""
    ticker = Ticker(0.001)
    seen: list[float] = []

    async def listen() -> None:
        for _ in range(2):
            seen.append(await ticker.recv())

    async with ticker:
        (listening,) = start(listen())
        await asyncio.sleep(0)
        before = ticker._timer
        ticker.reset(0.002)
        assert before is None or before.cancelled() or before is not ticker._timer
        await asyncio.wait([listening])
        await ended([listening])
        statistics = ticker.statistics()
        assert listening.cancelled() or len(seen) == 2
        assert statistics.ticks >= len(seen)
    assert ticker._timer is None
