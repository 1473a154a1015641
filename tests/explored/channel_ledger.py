"""What explored scenarios of channels note while they run, and what must hold at their end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from backstay import Channel, select
from backstay.errors import ChannelClosed, WouldBlock
from backstay.sync._wake_queue import wake_queue

Item = tuple[int, int]  # the sender and the number of its item


class Ledger:
    """What was really done: a cancelled operation is a legal course."""

    def __init__(self) -> None:
        self.tried: list[Item] = []
        self.sent: list[Item] = []
        self.got: list[Item] = []

    async def send(self, me: int, channel: Channel[Item], count: int = 2) -> None:
        for number in range(count):
            self.tried.append((me, number))
            try:
                await channel.send((me, number))
            except asyncio.CancelledError:
                assert_withdrawn((me, number), channel)
                raise
            self.sent.append((me, number))

    async def send_by_select(self, me: int, *channels: Channel[Item], count: int = 2) -> None:
        for number in range(count):
            self.tried.append((me, number))
            try:
                picked = await select(*[(channel, (me, number)) for channel in channels])
            except asyncio.CancelledError:
                assert_withdrawn((me, number), *channels)
                raise
            assert picked.ok
            self.sent.append((me, number))

    async def receive(self, channel: Channel[Item]) -> None:
        while True:
            self.got.append(await channel.recv())

    async def iterate(self, channel: Channel[Item]) -> None:
        async for item in channel:
            self.got.append(item)

    async def receive_batches(self, channel: Channel[Item]) -> None:
        while batch := await channel.recv_many(2):
            self.got += batch

    async def receive_by_select(self, *channels: Channel[Item]) -> None:
        cases: list[Channel[Item] | None] = list(channels)
        while any(case is not None for case in cases):
            index, item, ok = await select(*cases)
            if ok:
                self.got.append(item)
            else:
                cases[index] = None

    def take(self, channel: Channel[Item]) -> bool:
        """Receive without waiting, from the scenario, which nobody cancels."""
        try:
            self.got.append(channel.recv_nowait())
        except (WouldBlock, ChannelClosed):
            return False
        return True

    def check(self, *channels: Channel[Item]) -> None:
        assert len(set(self.got)) == len(self.got), f"received twice: {self.got}"
        assert set(self.got) <= set(self.tried), "received what nobody sent"
        lost = set(self.sent) - set(self.got)
        assert not lost, f"lost: {lost}"
        for channel in channels:
            assert not channel._receivers, "a receiver stands in line who does not wait"
            assert not channel._senders, "a sender stands in line who does not wait"


def assert_withdrawn(item: Item, *channels: Channel[Item]) -> None:
    """Hold that nobody can take an item any more whose sender was cancelled."""
    for channel in channels:
        for waiter, waiting, _ in channel._senders:
            assert waiting != item or waiter.done(), f"{item} is sent though its sender has left"


def start(*work: Coroutine[Any, Any, object]) -> list[asyncio.Future[object]]:
    """Start all of it as tasks, each wake-up a handle of its own, so that every order can be tried."""
    wake_queue().wakes_per_turn = 0
    return [asyncio.ensure_future(part) for part in work]


async def ended(tasks: list[asyncio.Future[object]], *legal: type[Exception]) -> None:
    """Wait for all; cancelled ones and the errors named are legal."""
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, legal):
            raise result


def check_lines(*channels: Channel[Item]) -> None:
    """Between two steps nobody waits for what is there already."""
    for channel in channels:
        receivers, senders = channel._receivers.waiting, channel._senders.waiting
        assert not (receivers and len(channel)), "a receiver waits beside an item"
        assert not (senders and len(channel) < channel.capacity), "a sender waits beside room"


async def finish(
    ledger: Ledger,
    senders: list[asyncio.Future[object]],
    receivers: list[asyncio.Future[object]],
    *channels: Channel[Item],
) -> None:
    """Take what cancelled receivers left, until all senders are through; then close and drain."""
    while not all(sender.done() for sender in senders):
        check_lines(*channels)
        if all(receiver.done() for receiver in receivers):
            for channel in channels:
                ledger.take(channel)
        await asyncio.sleep(0)
    check_lines(*channels)
    await ended(senders)
    for channel in channels:
        channel.close()
    await ended(receivers, ChannelClosed)
    for channel in channels:
        while ledger.take(channel):
            pass
    ledger.check(*channels)
