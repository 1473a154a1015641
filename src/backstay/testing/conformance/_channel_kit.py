"""What everything must do that hands items from one task to another: queues, channels, streams.

The promises: an item whose `send` returned is received exactly once, whoever is
cancelled; one whose `send` was cancelled at most once; items of one sender arrive
in order; a full one makes senders wait and an empty one receivers, and nobody
waits while it could go on; after `close`, items left are drained and everybody
who waits is told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from backstay.testing._wait_all_blocked import wait_all_blocked
from backstay.testing.conformance._check import KIT, Check

__all__ = ["ChannelKit"]

Item: TypeAlias = tuple[int, int]
"""Sender and serial number."""

_SENDERS = 2
_ITEMS = 3  # of each sender


def _send(channel: Any, item: Any) -> Awaitable[object]:
    result: Awaitable[object] = channel.send(item)
    return result


def _receive(channel: Any) -> Awaitable[Any]:
    result: Awaitable[Any] = channel.recv()
    return result


@dataclass(frozen=True, slots=True)
class ChannelKit:
    """Says how to use a channel; `checks` does the rest.

    Attributes:
        make: makes one of the given capacity, inside a running loop.
        send: gives it an item, waiting while it is full.
        receive: takes an item, waiting while it is empty.
        close: ends it; None when it has no end.
        closed: what send and receive raise then, once it is drained.
        capacities: which to try; 0 for a rendezvous, where it has one.
    """

    make: Callable[[int], Any]
    send: Callable[[Any, Any], Awaitable[object]] = _send
    receive: Callable[[Any], Awaitable[Any]] = _receive
    close: Callable[[Any], object] | None = None
    closed: type[Exception] | tuple[type[Exception], ...] = ()
    capacities: tuple[int, ...] = (1, 2)

    def checks(self) -> tuple[Check, ...]:
        """Return everything that must hold, for each capacity."""
        found: list[Check] = []
        for capacity in self.capacities:
            at = f"capacity_{capacity}"
            found += [
                Check(f"every_item_arrives_once-{at}", partial(self._delivery, capacity)),
                Check(
                    f"no_item_is_lost_to_a_cancellation-{at}",
                    partial(self._delivery, capacity),
                    cancel=True,
                ),
                Check(
                    f"no_item_is_lost_at_any_await-{at}",
                    partial(self._delivery, capacity),
                    cancel="systematic",
                ),
                Check(f"items_of_a_sender_keep_their_order-{at}", partial(self._order, capacity)),
                Check(
                    f"items_keep_their_order_with_cancellations-{at}",
                    partial(self._order, capacity),
                    cancel=True,
                ),
                Check(f"a_full_one_makes_senders_wait-{at}", partial(self._full, capacity)),
                Check(
                    f"nobody_is_forgotten-{at}",
                    partial(self._nobody_forgotten, capacity),
                    cancel=True,
                ),
            ]
            if self.close is not None:
                found += [
                    Check(f"what_is_left_is_drained-{at}", partial(self._drained, capacity)),
                    Check(
                        f"close_wakes_receivers-{at}",
                        partial(self._close_wakes, capacity),
                        cancel=True,
                    ),
                ]
        return tuple(found)

    # -- scenarios -----------------------------------------------------------------

    async def _delivery(self, capacity: int) -> None:
        channel = self.make(capacity)
        tried: list[Item] = []
        sent: list[Item] = []
        got: list[Item] = []
        senders = [
            _start(self._sender(channel, who, tried, sent), f"sender-{who}")
            for who in range(_SENDERS)
        ]
        receivers = [
            _start(self._receiver(channel, _ITEMS, got), f"receiver-{n}") for n in range(_SENDERS)
        ]
        await wait_all_blocked()
        await self._drain(channel, got)
        await wait_all_blocked()
        forgotten = [task.get_name() for task in senders if not task.done()]
        assert not forgotten, f"all was received, and {forgotten} still wait to send"
        await _stop(receivers)
        _raise_errors([*senders, *receivers])
        counted = Counter(got)
        twice = [item for item, times in counted.items() if times > 1]
        assert not twice, f"received twice: {twice}"
        lost = [item for item in sent if item not in counted]
        assert not lost, f"sent, and never received: {lost}"
        invented = [item for item in counted if item not in tried]
        assert not invented, f"received, and never sent: {invented}"

    async def _order(self, capacity: int) -> None:
        channel = self.make(capacity)
        tried: list[Item] = []
        got: list[Item] = []
        senders = [
            _start(self._sender(channel, who, tried, []), f"sender-{who}")
            for who in range(_SENDERS)
        ]
        # One receiver at a time: what two receive has an order only between them.
        for turn in range(2):
            receiver = _start(self._receiver(channel, _ITEMS, got), f"receiver-{turn}")
            await wait_all_blocked()
            await _stop([receiver])
        await self._drain(channel, got)
        await _stop(senders)
        _raise_errors(senders)
        for who in range(_SENDERS):
            serials = [serial for sender, serial in got if sender == who]
            assert serials == sorted(serials), f"sender {who}'s items came as {serials}"

    async def _full(self, capacity: int) -> None:
        channel = self.make(capacity)
        sent: list[Item] = []
        sender = _start(self._sender(channel, 0, [], sent, capacity + 2), KIT)
        await wait_all_blocked()
        assert len(sent) == capacity, (
            f"{len(sent)} sends returned at capacity {capacity}, nobody receives"
        )
        got: list[Item] = []
        await self._drain(channel, got)
        await sender
        assert got == sent == [(0, serial) for serial in range(capacity + 2)]

    async def _nobody_forgotten(self, capacity: int) -> None:
        """Receivers wait first; as many items as there are receivers must serve them all."""
        channel = self.make(capacity)
        got: list[Item] = []
        receivers = [_start(self._receiver(channel, 1, got), f"receiver-{n}") for n in range(3)]
        await asyncio.sleep(0)
        sender = _start(self._sender(channel, 0, [], [], len(receivers)), KIT)
        await wait_all_blocked()
        waiting = [task.get_name() for task in receivers if not task.done()]
        assert not waiting, f"there were items for all, and {waiting} still wait"
        await self._drain(channel, got)
        await sender
        _raise_errors(receivers)
        assert len(got) == len(receivers)

    async def _drained(self, capacity: int) -> None:
        channel = self.make(capacity)
        sent: list[Item] = []
        await self._sender(channel, 0, [], sent, capacity)
        self._close(channel)
        for item in sent:
            assert await self.receive(channel) == item
        await self._must_be_closed(self.receive(channel), "receive")
        await self._must_be_closed(self.send(channel, (0, 99)), "send")

    async def _close_wakes(self, capacity: int) -> None:
        channel = self.make(capacity)

        async def waiter() -> None:
            await self._must_be_closed(self.receive(channel), "receive")

        waiters = [_start(waiter(), f"receiver-{n}") for n in range(3)]
        await asyncio.sleep(0)
        self._close(channel)
        await asyncio.wait(waiters)  # stuck for ever, when one is not told
        _raise_errors(waiters)

    # -- parts -----------------------------------------------------------------------

    async def _sender(
        self, channel: Any, who: int, tried: list[Item], sent: list[Item], items: int = _ITEMS
    ) -> None:
        for serial in range(items):
            tried.append((who, serial))
            await self.send(channel, (who, serial))
            sent.append((who, serial))

    async def _receiver(self, channel: Any, items: int, got: list[Item]) -> None:
        for _ in range(items):
            got.append(await self.receive(channel))

    async def _drain(self, channel: Any, got: list[Item]) -> None:
        """Receive until it would wait."""
        while True:
            one: list[Item] = []
            attempt = _start(self._receiver(channel, 1, one), KIT)
            await wait_all_blocked()
            if not attempt.done():
                await _stop([attempt])
                assert not one, "a receive that was cancelled returned an item"
                return
            attempt.result()
            got += one

    def _close(self, channel: Any) -> None:
        assert self.close is not None
        self.close(channel)

    async def _must_be_closed(self, operation: Awaitable[object], what: str) -> None:
        try:
            result = await operation
        except self.closed:
            return
        raise AssertionError(f"{what} on a closed and drained channel returned {result!r}")


def _start(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(coroutine, name=name)


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _raise_errors(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if not task.cancelled():
            task.result()
