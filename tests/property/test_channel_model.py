"""A channel against a deque and two lists: whatever is done in whatever order, both agree."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backstay import Channel, select
from backstay.errors import ChannelClosed, WouldBlock
from backstay.sync._wake_queue import wake_queue
from backstay.testing import VirtualLoop

WAYS = ["recv", "recv2", "recv_many", "select", "iterate"]


class Waiting:
    """One operation that may have to wait, and what the model says about it."""

    def __init__(self, task: asyncio.Task[Any], item: int | None) -> None:
        self.task = task
        self.item = item  # what it sends; None for a receive


class ChannelMachine(RuleBasedStateMachine):
    """Drives one channel through its public face, and a model of plain containers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.number = 0

    @initialize(capacity=st.sampled_from([0, 1, 1, 2, 2, 3, 130, 200]), shared=st.booleans())
    def make(self, capacity: int, shared: bool) -> None:
        self.channel: Channel[int] = Channel(capacity, shared=shared)
        self.capacity = capacity
        self.returned: deque[int] = deque()  # stand before the items, and take up room as they do
        self.items: deque[int] = deque()
        self.receivers: deque[Waiting] = deque()
        self.senders: deque[Waiting] = deque()
        self.closed = False

    def settle(self) -> None:
        """Let everybody go on who can; afterwards nobody has to pause before an operation begins."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(self.turn())

    async def turn(self) -> None:
        await wake_queue().pause()

    def fresh(self) -> int:
        self.number += 1
        return self.number

    # -- the model -----------------------------------------------------------------

    @property
    def length(self) -> int:
        return len(self.returned) + len(self.items)

    def model_send(self, item: int) -> Waiting | str | None:
        """Return the receiver that gets it, "closed", "buffered", or None when it waits."""
        if self.closed:
            return "closed"
        if self.receivers:
            return self.receivers.popleft()
        if self.length < self.capacity:
            self.items.append(item)
            return "buffered"
        return None

    def model_recv(self) -> int | str | None:
        """Return the item, "closed", or None when it waits."""
        if self.returned or self.items:
            item = (self.returned or self.items).popleft()
            if self.senders and self.length < self.capacity:
                self.items.append(self.through(self.senders.popleft()))
            return item
        if self.senders:
            return self.through(self.senders.popleft())
        return "closed" if self.closed else None

    def through(self, sender: Waiting) -> int:
        """Return what a sender sends whose turn has come; it goes on."""
        self.settle()
        assert sender.task.done(), "the sender whose item was taken goes on"
        assert sender.item is not None
        return sender.item

    # -- what can be done -------------------------------------------------------------

    @rule(way=st.sampled_from(["send", "select", "nowait"]))
    def send(self, way: str) -> None:
        item = self.fresh()
        if way == "nowait":
            self.send_nowait(item)
            return
        work = self.channel.send(item) if way == "send" else select((self.channel, item), None)
        task = self.loop.create_task(work)
        self.settle()
        outcome = self.model_send(item)
        if outcome == "closed":
            assert isinstance(task.exception(), ChannelClosed)
        elif outcome is None:
            assert not task.done()
            self.senders.append(Waiting(task, item))
        else:
            assert task.exception() is None
            if isinstance(outcome, Waiting):
                assert self.value_of(outcome) == item

    def send_nowait(self, item: int) -> None:
        outcome = self.model_send(item)
        if outcome == "closed" or outcome is None:
            with pytest.raises(ChannelClosed if outcome else WouldBlock):
                self.channel.send_nowait(item)
            return
        self.channel.send_nowait(item)
        self.settle()
        if isinstance(outcome, Waiting):
            assert self.value_of(outcome) == item

    def receive_by(self, way: str) -> asyncio.Task[Any]:
        channel = self.channel
        work: Coroutine[Any, Any, Any] = {
            "recv": channel.recv,
            "recv2": channel.recv2,
            "recv_many": lambda: channel.recv_many(1),
            "select": lambda: select(channel, Channel()),
            "iterate": channel.__anext__,
        }[way]()
        return self.loop.create_task(work)

    @rule(way=st.sampled_from([*WAYS, "nowait"]))
    def receive(self, way: str) -> None:
        if way == "nowait":
            self.receive_nowait()
            return
        task = self.receive_by(way)
        self.settle()
        outcome = self.model_recv()
        waiting = Waiting(task, None)
        if outcome is None:
            assert not task.done()
            self.receivers.append(waiting)
        elif outcome == "closed":
            assert self.value_of(waiting) is None
        else:
            assert self.value_of(waiting) == outcome

    def receive_nowait(self) -> None:
        if self.length or self.senders:
            value = self.channel.recv_nowait()
            assert value == self.model_recv()
        else:
            with pytest.raises(ChannelClosed if self.closed else WouldBlock):
                self.channel.recv_nowait()

    @rule(index=st.integers(0, 5), sender=st.booleans())
    def cancel(self, index: int, sender: bool) -> None:
        line = self.senders if sender else self.receivers
        if index < len(line):
            waiting = line[index]
            del line[index]
            waiting.task.cancel()
            self.settle()
            assert waiting.task.cancelled()

    @precondition(lambda self: not self.closed)
    @rule(
        more=st.lists(st.sampled_from(WAYS), min_size=1, max_size=3),
        waits=st.lists(st.booleans(), min_size=1, max_size=5),
        struck=st.just(set(range(5))) | st.sets(st.integers(0, 4), min_size=1),
    )
    def cancel_as_items_are_handed_over(
        self, more: list[str], waits: list[bool], struck: set[int]
    ) -> None:
        """In one turn several items are sent, and some of those who are handed one are cancelled."""
        while self.length or self.senders:
            self.receive_nowait()
        self.settle()
        self.receivers += [Waiting(self.receive_by(way), None) for way in more]
        self.settle()
        items = [self.fresh() for _ in waits]
        outcomes = [self.model_send(item) for item in items]

        async def hand_over() -> None:
            await self.turn()  # with a whole budget, so that nobody else runs in between
            for item, outcome, wait in zip(items, outcomes, waits, strict=True):
                if outcome is None:
                    with pytest.raises(WouldBlock):
                        self.channel.send_nowait(item)
                elif wait:
                    await self.channel.send(item)
                else:
                    self.channel.send_nowait(item)
            for place, outcome in enumerate(outcomes):
                if place in struck and isinstance(outcome, Waiting):
                    outcome.task.cancel()

        self.loop.run_until_complete(hand_over())
        self.settle()
        for place, (item, outcome) in enumerate(zip(items, outcomes, strict=True)):
            if not isinstance(outcome, Waiting):
                continue
            if place not in struck:
                assert self.value_of(outcome) == item
                continue
            assert outcome.task.cancelled()
            if self.receivers:
                assert self.value_of(self.receivers.popleft()) == item
            else:
                self.returned.append(item)

    @precondition(lambda self: self.senders)
    @rule()
    def cancel_as_the_item_is_taken(self) -> None:
        """A sender that is cancelled in the turn in which its item went has sent it, once."""
        first = self.senders[0]
        value = self.channel.recv_nowait()
        first.task.cancel()
        self.settle()
        assert first.task.cancelled()
        if (
            self.length > self.capacity
        ):  # more came back than there is room for: it was not its turn
            self.senders.popleft()
        assert value == self.model_recv()

    @precondition(lambda self: not self.receivers and not self.closed)
    @rule(count=st.integers(1, 150))
    def send_in_a_burst(self, count: int) -> None:
        """One task sends without a break as long as there is room: the quick way, and its budget."""
        items = [self.fresh() for _ in range(min(count, self.capacity - self.length))]

        async def burst() -> None:
            for item in items:
                await self.channel.send(item)

        self.loop.run_until_complete(burst())
        self.settle()
        self.items += items

    @precondition(lambda self: self.length)
    @rule(count=st.integers(1, 150), ways=st.lists(st.booleans(), min_size=1, max_size=4))
    def receive_in_a_burst(self, count: int, ways: list[bool]) -> None:
        """One task receives without a break what is there, by recv and by select."""
        seen: list[int] = []

        async def burst() -> None:
            for number in range(min(count, self.length)):
                if ways[number % len(ways)]:
                    seen.append(await self.channel.recv())
                else:
                    seen.append((await select(self.channel, None)).value)

        count = min(count, self.length)
        self.loop.run_until_complete(burst())
        self.settle()
        assert seen == [self.model_recv() for _ in range(count)]

    @rule(really=st.integers(0, 19))
    def close(self, really: int) -> None:
        if self.closed:
            with pytest.raises(ChannelClosed):
                self.channel.close()
        if self.closed or really != 19:  # or most courses would be over soon
            return
        self.channel.close()
        self.closed = True
        self.settle()
        for waiting in self.receivers:
            assert self.value_of(waiting) is None
        for waiting in self.senders:
            assert isinstance(waiting.task.exception(), ChannelClosed)
        self.receivers.clear()
        self.senders.clear()

    # -- what must hold ---------------------------------------------------------------

    def value_of(self, waiting: Waiting) -> int | None:
        """Return what a finished receive got, None for the end of the stream."""
        assert waiting.task.done()
        error = waiting.task.exception()
        if error is not None:
            assert isinstance(error, ChannelClosed | StopAsyncIteration | RuntimeError), error
            return None
        result: Any = waiting.task.result()
        if isinstance(result, list):
            return result[0] if result else None
        if isinstance(result, tuple):
            return result[0] if len(result) == 2 else result[1]
        return int(result)

    @invariant()
    def they_agree(self) -> None:
        if hasattr(self, "channel"):
            seen = self.channel.statistics()
            assert seen.length == len(self.channel) == self.length
            assert seen.receivers == len(self.receivers)
            assert seen.senders == len(self.senders)
            assert seen.closed == self.closed
            assert all(not waiting.task.done() for waiting in (*self.receivers, *self.senders))

    def teardown(self) -> None:
        if hasattr(self, "channel"):
            for waiting in (*self.receivers, *self.senders):
                waiting.task.cancel()
            self.settle()
        self.loop.close()


TestChannelModel = ChannelMachine.TestCase
TestChannelModel.settings = settings(
    max_examples=3_000 if os.environ.get("BACKSTAY_SCHEDULES") == "full" else 120,
    stateful_step_count=40,
    deadline=None,
)
