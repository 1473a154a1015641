"""Channels made for several loops, and selects that mix both kinds, under thousands of schedules.

What an unshared channel promises holds for a shared one as well; here in one loop,
whose order the explorer chooses. Two threads race in `tests/conformance`.
"""

from __future__ import annotations

import asyncio

import pytest
from channel_ledger import Item, Ledger, ended, finish, start

from backstay import Channel
from backstay.errors import ChannelClosed

FULL = 20_000
QUICK = 300


@pytest.mark.parametrize("capacity", [0, 1, 2])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_everything_sent_through_a_shared_channel_arrives_once(capacity: int) -> None:
    """Two senders and two receivers with tickets, all of whom may be cancelled at every wait."""
    ledger, channel = Ledger(), Channel[Item](capacity, shared=True)
    senders = start(ledger.send(0, channel), ledger.send(1, channel))
    receivers = start(ledger.receive(channel), ledger.iterate(channel))
    await finish(ledger, senders, receivers, channel)


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_cancel_at_each_wait_at_a_shared_channel(capacity: int) -> None:
    """The same with batches, one cancel at every place there is."""
    ledger, channel = Ledger(), Channel[Item](capacity, shared=True)
    senders = start(ledger.send(0, channel), ledger.send(1, channel))
    receivers = start(ledger.receive_batches(channel), ledger.receive(channel))
    await finish(ledger, senders, receivers, channel)


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_select_over_both_kinds_loses_none(capacity: int) -> None:
    """One ticket stands in the lines of a shared and of an unshared channel, and is served once."""
    ledger = Ledger()
    shared, own = Channel[Item](capacity, shared=True), Channel[Item]()
    senders = start(
        ledger.send(0, shared),
        ledger.send(1, own),
        ledger.send_by_select(2, shared, own, count=1),
    )
    receivers = start(ledger.receive_by_select(shared, own), ledger.receive_by_select(own, shared))
    await finish(ledger, senders, receivers, shared, own)


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_close_of_a_shared_channel_ends_everybody(capacity: int) -> None:
    """Senders raise or were through, receivers end, selects see it; what was sent is drained."""
    ledger = Ledger()
    channel, quiet = Channel[Item](capacity, shared=True), Channel[Item]()
    tasks = start(
        ledger.send(0, channel),
        ledger.send_by_select(1, channel, quiet),
        ledger.receive(channel),
        ledger.receive_by_select(channel),
    )
    await asyncio.sleep(0)
    channel.close()
    await ended(tasks, ChannelClosed)
    while ledger.take(channel):
        pass
    ledger.check(channel, quiet)
