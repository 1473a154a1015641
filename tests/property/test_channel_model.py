"""A channel against a deque and two lists: whatever is done in whatever order, both agree."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backstay import Channel, select
from backstay.errors import ChannelClosed, WouldBlock
from backstay.testing import VirtualLoop


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

    @initialize(capacity=st.integers(0, 3), shared=st.booleans())
    def make(self, capacity: int, shared: bool) -> None:
        self.channel: Channel[int] = Channel(capacity, shared=shared)
        self.capacity = capacity
        self.items: deque[int] = deque()
        self.receivers: deque[Waiting] = deque()
        self.senders: deque[Waiting] = deque()
        self.closed = False

    def settle(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def fresh(self) -> int:
        self.number += 1
        return self.number

    # -- the model -----------------------------------------------------------------

    def model_send(self, item: int) -> Waiting | str | None:
        """Return the receiver that gets it, "closed", "buffered", or None when it waits."""
        if self.closed:
            return "closed"
        if self.receivers:
            return self.receivers.popleft()
        if len(self.items) < self.capacity:
            self.items.append(item)
            return "buffered"
        return None

    def model_recv(self) -> int | str | None:
        if self.items:
            item = self.items.popleft()
            if self.senders and len(self.items) < self.capacity:
                sender = self.senders.popleft()
                self.settle()
                assert sender.task.done(), "the sender whose item moved up goes on"
                assert sender.item is not None
                self.items.append(sender.item)
            return item
        if self.senders:
            sender = self.senders.popleft()
            self.settle()
            assert sender.task.done()
            return sender.item
        return "closed" if self.closed else None

    # -- what can be done -------------------------------------------------------------

    @rule(way=st.sampled_from(["send", "select"]))
    def send(self, way: str) -> None:
        item = self.fresh()
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

    @rule()
    def send_nowait(self) -> None:
        item = self.fresh()
        wanted: type[Exception] | None = None
        if self.closed:
            wanted = ChannelClosed
        elif not self.receivers and len(self.items) >= self.capacity:
            wanted = WouldBlock
        if wanted is not None:
            with pytest.raises(wanted):
                self.channel.send_nowait(item)
            return
        self.channel.send_nowait(item)
        outcome = self.model_send(item)
        self.settle()
        if isinstance(outcome, Waiting):
            assert self.value_of(outcome) == item

    @rule(way=st.sampled_from(["recv", "recv2", "recv_many", "select", "iterate"]))
    def receive(self, way: str) -> None:
        channel = self.channel
        work = {
            "recv": channel.recv,
            "recv2": channel.recv2,
            "recv_many": lambda: channel.recv_many(1),
            "select": lambda: select(channel, Channel()),
            "iterate": channel.__anext__,
        }[way]()
        task = self.loop.create_task(work)
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

    @rule()
    def receive_nowait(self) -> None:
        if self.items or self.senders:
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

    @precondition(lambda self: self.receivers and not self.closed)
    @rule()
    def cancel_as_it_is_handed_an_item(self) -> None:
        item = self.fresh()
        first = self.receivers.popleft()
        self.channel.send_nowait(item)
        first.task.cancel()
        self.settle()
        assert first.task.cancelled()
        if self.receivers:
            assert self.value_of(self.receivers.popleft()) == item
        else:
            self.items.appendleft(item)

    @rule()
    def close(self) -> None:
        if self.closed:
            with pytest.raises(ChannelClosed):
                self.channel.close()
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
            assert seen.length == len(self.channel) == len(self.items)
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
TestChannelModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
