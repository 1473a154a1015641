"""The channel kit catches each way in which a channel can lose, double or forget."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from typing import Any

import pytest

from backstay.testing import ExplorationFailure
from backstay.testing.conformance import ChannelKit


class Ended(Exception):
    """The channel is closed."""


class Handmade:
    """A right queue with hand-over, each part of which can be broken."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: deque[Any] = deque()
        self.getters: deque[asyncio.Future[Any]] = deque()
        self.putters: deque[tuple[asyncio.Future[None], Any]] = deque()
        self.ended = False

    async def send(self, item: Any) -> None:
        if self.ended:
            raise Ended
        while self.getters:
            getter = self.getters.popleft()
            if not getter.done():
                getter.set_result(item)
                return
        if len(self.items) < self.capacity:
            self.items.append(item)
            return
        putter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.putters.append((putter, item))
        await putter

    async def recv(self) -> Any:
        if self.items:
            item = self.items.popleft()
            self.refill()
            return item
        if self.ended:
            raise Ended
        getter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.getters.append(getter)
        try:
            return await getter
        except asyncio.CancelledError:
            if getter.done() and not getter.cancelled() and getter.exception() is None:
                self.give_back(getter.result())
            raise

    def refill(self) -> None:
        while self.putters:
            putter, item = self.putters.popleft()
            if not putter.done():
                putter.set_result(None)
                self.items.append(item)
                return

    def give_back(self, item: Any) -> None:
        while self.getters:
            getter = self.getters.popleft()
            if not getter.done():
                getter.set_result(item)
                return
        self.items.appendleft(item)

    def close(self) -> None:
        self.ended = True
        for getter in self.getters:
            if not getter.done():
                getter.set_exception(Ended())


class LosesTheItem(Handmade):
    def give_back(self, item: Any) -> None:
        """As anyio's stream on a native cancellation."""


class GivesBackAtTheEnd(Handmade):
    def give_back(self, item: Any) -> None:
        self.items.append(item)


class DoublesTheItem(Handmade):
    def give_back(self, item: Any) -> None:
        super().give_back(item)
        self.items.append(item)


class ForgetsSenders(Handmade):
    def refill(self) -> None:
        """Those who wait for room are not told."""


class KnowsNoLimit(Handmade):
    def __init__(self, capacity: int) -> None:
        super().__init__(10**6)


class TakesTheLast(Handmade):
    async def recv(self) -> Any:
        if self.items:
            self.items.rotate(1)
        return await super().recv()


class WakesOneAtClose(Handmade):
    def close(self) -> None:
        self.ended = True
        if self.getters and not self.getters[0].done():
            self.getters[0].set_exception(Ended())


class DropsItemsAtClose(Handmade):
    def close(self) -> None:
        super().close()
        self.items.clear()


def caught(kit: ChannelKit, name: str = "") -> set[str]:
    """Return the names of the checks that fail, without the capacity, of those called `name`."""
    failed: set[str] = set()
    for check in kit.checks():
        if not str(check).startswith(name):
            continue
        try:
            check.run(schedules=200)
        except ExplorationFailure:
            failed.add(str(check).partition("-")[0])
    gc.collect()
    return failed


def caught_by(make: type[Handmade], name: str = "") -> set[str]:
    """Return the names of the checks that a channel fails."""
    return caught(ChannelKit(make, close=lambda c: c.close(), closed=Ended), name)


def test_a_right_channel_passes() -> None:
    """No check is too strict."""
    assert not caught_by(Handmade)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (LosesTheItem, "no_item_is_lost_to_a_cancellation"),
        (LosesTheItem, "no_item_is_lost_at_any_await"),
        (LosesTheItem, "nobody_is_forgotten"),
        (GivesBackAtTheEnd, "items_keep_their_order_with_cancellations"),
        (DoublesTheItem, "no_item_is_lost_to_a_cancellation"),
        (ForgetsSenders, "every_item_arrives_once"),
        (KnowsNoLimit, "a_full_one_makes_senders_wait"),
        (TakesTheLast, "items_of_a_sender_keep_their_order"),
        (WakesOneAtClose, "close_wakes_receivers"),
        (DropsItemsAtClose, "what_is_left_is_drained"),
    ],
)
def test_each_fault_is_caught(broken: type[Handmade], check: str) -> None:
    """The name of the failing check says what is wrong."""
    assert caught_by(broken, check)


def test_an_anyio_stream_is_caught() -> None:
    """A widely used one loses items on a native cancellation; the kit says so."""
    anyio = pytest.importorskip("anyio")

    def make(capacity: int) -> Any:
        return anyio.create_memory_object_stream(capacity)

    kit = ChannelKit(
        make,
        send=lambda stream, item: stream[0].send(item),
        receive=lambda stream: stream[1].receive(),
        capacities=(1,),
    )
    with pytest.warns(ResourceWarning):  # the kit closes only what has a close
        failed = caught(kit)
    assert "no_item_is_lost_at_any_await" in failed
    assert "every_item_arrives_once" not in failed
