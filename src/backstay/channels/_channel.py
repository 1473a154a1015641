"""`Channel`: the waiting around a channel's state.

Each operation has a fast path that neither waits nor calls anything of ours: one
question whether we are at home and have credit left, one whether the buffer can
serve. All else is decided in `_channel_state`; this file only parks and, when a
parked task is cancelled, cleans up. A cancel may strike in three moments:

* before it was served: it leaves the line, and nothing has happened;
* after it was served and before it runs: a receiver gives the item back; a
  sender's item was taken by then, and stays taken;
* never in between, since everything else here happens without suspension.
"""

from __future__ import annotations

import sys
from asyncio import get_running_loop
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar
from weakref import ref

from backstay._base import Roster
from backstay.channels import _bridge as bridge
from backstay.channels._channel_state import CLOSED, NOTHING, Mark, Sender
from backstay.channels._home import ASK_WHEN_PARKING, HomedState
from backstay.channels._views import RecvOnly, RecvView, SendOnly, SendView
from backstay.errors import WouldBlock
from backstay.sync._wake_queue import FAST_OPS, Waiter, here, was_given

__all__ = ["ALIVE", "Channel", "ChannelStatistics"]

T = TypeVar("T")

#: The channels of this process, except those that time-outs and tickers are made of.
ALIVE: Final[Roster[Channel[Any]]] = Roster()
_enter, _leave = ALIVE.enter, ALIVE.leave
_PAUSE: Final[Any] = Mark("pause")


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """How a channel is doing at this moment."""

    name: str
    capacity: int
    length: int  # items that can be received without a sender
    receivers: int  # tasks that wait for an item, selects included
    senders: int  # tasks that wait for room or for a receiver, selects included
    closed: bool
    shared: bool


class Channel(HomedState[T], SendOnly[T], RecvOnly[T]):
    """A pipe of items between tasks, first in, first out: Go's channel.

    ::

        jobs: Channel[Order] = Channel(128)
        await jobs.send(order)              # waits while 128 items are buffered
        async for order in jobs: ...        # until it is closed and drained

    With capacity 0 each send meets a receive (a rendezvous): when `send` returns,
    somebody has the item. No item is lost, whoever is cancelled and when.

    Cost: an item through a buffer costs half of one through `asyncio.Queue`, one
    handed from task to task a fifth; see ``benchmarks/channels.py``.

    Attributes:
        name: as given, or the line that made it.
        capacity: how many items are buffered before a send waits.
        closed: whether `close()` was called; items may still be left.
        shared: whether it may be used from several event loops.
    """

    __slots__ = ()

    def __init__(self, capacity: int = 0, *, name: str | None = None, shared: bool = False) -> None:
        """Make a channel; no loop needs to run yet.

        Args:
            capacity: items to buffer, >= 0. In doubt leave it 0: a buffer hides
                that the receiver is too slow, until it is full.
            name: for people: it stands in dumps and errors.
            shared: whether several event loops (threads) use it. Costs a lock
                per operation, and a wake-up of the other loop where it waits.

        Raises:
            ValueError: `capacity` is negative.
        """
        if not capacity >= 0:
            raise ValueError(f"a channel buffers 0 or more items, not {capacity!r}")
        maker = sys._getframe(1)
        if maker.f_back is not None and maker.f_globals.get("__name__") == "typing":
            maker = maker.f_back  # Channel[int](...) is made by way of typing
        super().__init__(capacity, name, shared, maker)
        if type(self) is Channel:
            _enter(ref(self, _leave))
        else:
            ALIVE.add(self)

    # -- sending -----------------------------------------------------------------

    async def send(self, item: T) -> None:
        """Send `item`, waiting for a receiver or for room in the buffer.

        Raises:
            ChannelClosed: it is closed, or was closed while this waited.
            ChannelMisuse: it lives in another event loop.

        Cancelled: the item was not sent; except that a receiver took it in the
        very turn in which the cancel came. It is never lost and never sent twice.
        """
        if here() == self._home:
            if len(self._items) < self._room:
                self._items.append(item)
                return None
        elif self._lock is not None:
            return await bridge.send(self, item)
        else:
            self._settle()
        wakes = self._wakes
        if 0 < self._room <= len(self._items) < self.capacity:
            wakes.credit -= FAST_OPS  # a whole share of quick sends was used up
        if wakes.credit <= 0:
            await wakes.pause()
        wakes.credit -= 1
        if self.offer(item):
            if self.capacity > FAST_OPS:
                self.start_quick_sends()
            elif not self._receivers and not self._returned:  # the same, without the call
                self._room = self.capacity
            return None
        if ASK_WHEN_PARKING and self._loop is not get_running_loop():
            self._settle()
        waiter = self._wakes.waiter()
        entry: Sender = (waiter, item, None)
        if self._granted:  # as join_senders
            self.stop_quick_receives()
        self._senders.append(entry)
        try:
            answer = await waiter
        except BaseException:
            if not was_given(waiter):
                self._senders.discard(entry)
            raise
        if answer is CLOSED:
            raise self._closed_error("send on")
        return None

    def send_nowait(self, item: T) -> None:
        """Send `item` if that can be done without waiting.

        Raises:
            WouldBlock: nobody waits for it and there is no room; nothing has happened.
            ChannelClosed: it is closed.
            ChannelMisuse: it lives in another event loop.
        """
        if self._lock is not None:
            with self._lock:
                sent = self.offer(item)
        else:
            self._settle_nowait()
            sent = self.offer(item)
        if not sent:
            raise WouldBlock(
                f"channel {self.name!r} has no receiver waiting and {len(self)} of "
                f"{self.capacity} items buffered: use send(), which waits"
            )

    def close(self) -> None:
        """Say that no more items come.

        Receivers drain what is buffered and then see the end; those that wait
        see it now, and senders that wait raise `ChannelClosed`. Let the one
        task that sends be the one that closes.

        Raises:
            ChannelClosed: it was closed before.
            ChannelMisuse: it lives in another event loop.
        """
        if self._lock is not None:
            with self._lock:
                self.shut()
        else:
            self._settle_nowait()
            self.shut()

    # -- receiving ---------------------------------------------------------------

    async def recv(self) -> T:
        """Receive the next item, waiting for it.

        Raises:
            ChannelClosed: it is closed and drained; `recv2` and `async for` tell
                that without an error.
            ChannelMisuse: it lives in another event loop.

        Cancelled: no item is lost: one that had been handed over goes to the next
        receiver, or back to where it was.
        """
        if self._credit and self._items:
            self._credit -= 1
            return self._items.popleft()
        item: T | Any  # or a mark, which is Any
        # What follows is `_receive` once more: the coroutine saved is a tenth of a rendezvous.
        if self._lock is not None:
            item = await bridge.receive(self)
        else:
            item = self._try_receive()
            if item is _PAUSE:
                await self._wakes.pause()
                item = self.poll()
            if item is NOTHING:
                waiter = self._stand_in_line()
                try:
                    item = await waiter
                except BaseException:
                    self._leave(waiter)
                    raise
        if item is CLOSED:
            raise self._closed_error("receive from")
        return item

    async def recv2(self) -> tuple[T, Literal[True]] | tuple[None, Literal[False]]:
        """Receive as Go's `v, ok := <-c`.

        Returns:
            `(item, True)`, or `(None, False)` when it is closed and drained.

        Raises:
            ChannelMisuse: it lives in another event loop.

        Cancelled: as `recv`.
        """
        item = await self._receive()
        return (None, False) if item is CLOSED else (item, True)

    async def recv_many(self, most: int) -> list[T]:
        """Receive what is there: wait for one item, then take up to `most` without waiting.

        ::

            while batch := await rows.recv_many(100):
                await store(batch)

        Args:
            most: how many at most, >= 1.

        Returns:
            At least one item; an empty list when it is closed and drained.

        Raises:
            ChannelMisuse: it lives in another event loop.

        Cancelled: as `recv`; what was taken without waiting is not taken before
        the first item is.
        """
        if not most >= 1:
            raise ValueError(f"recv_many receives 1 or more items, not {most!r}")
        item = await self._receive()
        batch: list[T] = []
        if self._lock is not None:
            with self._lock:
                self._fill(batch, item, most)
        else:
            self._fill(batch, item, most)
            self._wakes.credit -= len(batch)
        return batch

    def recv_nowait(self) -> T:
        """Receive an item if that can be done without waiting.

        Raises:
            WouldBlock: nothing is there; nothing has happened.
            ChannelClosed: it is closed and drained.
            ChannelMisuse: it lives in another event loop.
        """
        if self._lock is not None:
            with self._lock:
                item = self.poll()
        else:
            self._settle_nowait()
            item = self.poll()
        if item is NOTHING:
            raise WouldBlock(
                f"channel {self.name!r} is empty and no sender waits: use recv(), which waits"
            )
        return self._unless_closed(item)

    def __aiter__(self) -> Channel[T]:
        """Iterate until the channel is closed and drained."""
        return self

    async def __anext__(self) -> T:
        """Receive the next item, or end."""
        if self._credit and self._items:
            self._credit -= 1
            return self._items.popleft()
        item = await self._receive()
        if item is CLOSED:
            raise StopAsyncIteration
        return item

    # -- inside --------------------------------------------------------------------

    async def _receive(self) -> T | Any:
        """Receive an item, or CLOSED, by the way that works always."""
        if self._lock is not None:
            return await bridge.receive(self)
        item = self._try_receive()
        if item is _PAUSE:
            await self._wakes.pause()
            item = self.poll()
        if item is NOTHING:
            waiter = self._stand_in_line()
            try:
                return await waiter
            except BaseException:
                self._leave(waiter)
                raise
        return item

    def _try_receive(self) -> T | Any:
        """Receive without waiting; NOTHING, or _PAUSE when the loop must turn before."""
        if here() != self._home:
            self._settle()
        wakes = self._wakes
        if self._granted:  # as stop_quick_receives
            wakes.credit -= self._granted - self._credit
            self._granted = self._credit = 0
        if wakes.credit <= 0 and self.can_receive():
            return _PAUSE
        wakes.credit -= 1
        item = self.poll()
        if self._items:
            self.start_quick_receives()
        return item

    def _stand_in_line(self) -> Waiter:
        if ASK_WHEN_PARKING and self._loop is not get_running_loop():
            self._settle()
        waiter = self._wakes.waiter()
        self._room = 0  # as join_receivers
        self._receivers.append(waiter)
        return waiter

    def _leave(self, waiter: Waiter) -> None:
        """Clean up after a receiver that was interrupted."""
        if not was_given(waiter):
            self._receivers.discard(waiter)
        elif waiter.result() is not CLOSED:
            self.give_back(waiter.result())

    def _fill(self, batch: list[T], item: T | Any, most: int) -> None:
        while item is not CLOSED and item is not NOTHING:
            batch.append(item)
            if len(batch) == most:
                return
            item = self.poll()

    def _unless_closed(self, item: T | Any) -> T:
        if item is CLOSED:
            raise self._closed_error("receive from")
        return item

    # -- looking at it ---------------------------------------------------------------

    @property
    def send_only(self) -> SendOnly[T]:
        """The sending end as an object of its own, that cannot receive."""
        return SendView(self)

    @property
    def recv_only(self) -> RecvOnly[T]:
        """The receiving end as an object of its own, that can neither send nor close."""
        return RecvView(self)

    def statistics(self) -> ChannelStatistics:
        """Tell how full it is and who waits; of a shared channel also from any thread."""
        with self._lock or nullcontext():
            return ChannelStatistics(
                name=self.name,
                capacity=self.capacity,
                length=len(self),
                receivers=self._receivers.waiting,
                senders=self._senders.waiting,
                closed=self.closed,
                shared=self.shared,
            )

    @property
    def _state(self) -> HomedState[Any]:
        return self

    def __repr__(self) -> str:
        """Show the name, how full it is, and whether it is closed."""
        closed = " closed" if self.closed else ""
        return f"<Channel {self.name!r} {len(self)}/{self.capacity}{closed}>"
