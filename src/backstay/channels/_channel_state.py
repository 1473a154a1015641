"""What a channel is, apart from waiting: a buffer and two lines of those who wait.

Semantics are Go's (`src/runtime/chan.go`), decided here in plain calls that
never suspend, so that a model can check them step by step. `Channel` adds the
waiting, `select` the choice among several, `_bridge` the several threads.

* A send goes to the first receiver in line, else into the buffer, else waits.
  A receive takes the head of the buffer, and then moves the first waiting
  sender's item to its tail; without a buffer it takes the item straight from
  the sender. So items come out in the order in which they were sent.
* Hand-off is direct: the receiver is woken *with* the item and nobody can snatch
  it on the way. The price is paid when that receiver is cancelled before it
  runs: the item belongs to nobody and must be given back (`give_back`), to the
  next receiver in line or to the head of what is to be received. Leaving this
  out is how other channels of asyncio lose items.
* Items given back stand before the buffer, in their order, and take up room like
  any other: a send waits until buffered and returned items together are fewer
  than the capacity. Only the giving back itself cannot wait, so right after it
  there may be more than the capacity (one in an unbuffered channel, even).
* A line may hold *stale* entries, of tasks that have given up or, in a select,
  have been served elsewhere. Whoever meets one skips it.
* Most operations find the buffer half full and nobody in line. For these there
  are *quick ways* that a `Channel` takes without calling anything here: a send
  goes into the buffer while that holds fewer than `_room` items, a receive takes
  from it while `_credit` lasts. Both numbers are 0 when somebody stands in line
  or anything else is unusual, so one comparison answers all questions; and both
  run out now and then, so that a task which never waits is noticed.

Invariants, while nobody is in the middle of a call:

1. A pending receiver in line means: nothing returned, nothing buffered, and no
   pending sender but those of the receiver's own select.
2. A pending sender in line means: no room, by what is buffered and returned.
3. A closed channel has nobody in line.
4. `_room` > 0 means: open, no receiver in line, nothing returned, and used in its
   own loop.
5. `_credit` > 0 means: no sender in line, nothing returned.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from backstay.errors import ChannelClosed
from backstay.sync._wake_queue import FAST_OPS, Waiter, WaitLine, WakeQueue

__all__ = ["CLOSED", "NOTHING", "ChannelState", "Mark", "Receiver", "Sender"]

T = TypeVar("T")


class Mark:
    """A value that cannot be an item."""

    __slots__ = ("_word",)

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return f"<{self._word}>"


CLOSED: Final[Any] = Mark("closed")  # what a waiting receiver or sender is woken with by close()
NOTHING: Final[Any] = Mark("nothing")  # what `poll` returns when a receive would have to wait

# Receives after which the loop's budget is looked at; two such rounds are a little more than a
# buffer of `FAST_OPS` items, so that draining one in a single step costs no turn of the loop.
QUICK_RECEIVES: Final = 72

Receiver: TypeAlias = "Waiter | tuple[Any, int]"
"""A task that receives; or a select's waiter and the number of its case."""

Sender: TypeAlias = "tuple[Any, Any, int | None]"
"""A waiter, the item it sends, and in a select the number of its case."""


class ChannelState(Generic[T]):
    """Buffer, lines and the closed flag of one channel; see the top of the file.

    Attributes:
        capacity: how many items it buffers; 0 makes each send meet a receive.
        closed: whether `shut()` was called; items may still be left to receive.
    """

    __slots__ = (
        "_credit",
        "_granted",
        "_items",
        "_receivers",
        "_returned",
        "_room",
        "_senders",
        "_wakes",
        "capacity",
        "closed",
    )

    def __init__(self, capacity: int) -> None:
        """Start open and empty."""
        self.capacity = capacity
        self.closed = False
        self._items: deque[T] = deque()
        self._returned: deque[T] | tuple[()] = ()  # a deque once an item came back; few ever do
        self._receivers: WaitLine[Receiver] = WaitLine()
        self._senders: WaitLine[Sender] = WaitLine()
        self._wakes: WakeQueue  # of the loop it is used in; set when somebody uses it there
        # The quick ways, see the top of the file. `_granted` is what `_credit` began with.
        self._room = 0
        self._credit = 0
        self._granted = 0

    # -- the operations --------------------------------------------------------------

    def offer(self, item: T) -> bool:
        """Send without waiting.

        Returns:
            False when it would have to wait; then nothing has happened.

        Raises:
            ChannelClosed: no more items are taken.
        """
        if self.closed:
            raise self._closed_error("send on")
        if self._receivers and self._hand_over(item):
            return True
        if len(self._items) + len(self._returned) < self.capacity:
            self._items.append(item)
            return True
        return False

    def poll(self) -> T | Any:
        """Receive without waiting.

        Returns:
            The item; or NOTHING when it would have to wait; or CLOSED when the
            channel is closed and drained.
        """
        if self._returned:
            item = self._returned.popleft()
            if len(self._items) + len(self._returned) < self.capacity:
                self._move_up()
            return item
        senders = self._senders
        if self._items:
            item = self._items.popleft()
            if senders:
                self._move_up()
            return item
        while senders:
            waiter, sent, case = senders.popleft()
            if self._wakes.wake(waiter, None if case is None else (case, None, True)):
                return sent
        return CLOSED if self.closed else NOTHING

    def _move_up(self) -> None:
        """Let the first sender who still waits put its item where there is room now."""
        senders = self._senders
        while senders:
            waiter, sent, case = senders.popleft()
            if self._wakes.wake(waiter, None if case is None else (case, None, True)):
                self._items.append(sent)
                return

    def _hand_over(self, item: T) -> bool:
        """Wake the first receiver who still waits with `item`; False when nobody does."""
        receivers = self._receivers
        wake = self._wakes.wake
        while receivers:
            entry = receivers.popleft()
            if type(entry) is tuple:
                if wake(entry[0], (entry[1], item, True)):
                    return True
            elif wake(entry, item):  # type: ignore[arg-type]  # no tuple, so a waiter
                return True
        return False

    def join_receivers(self, entry: Receiver) -> None:
        """Let one who found nothing stand in line."""
        self._room = 0
        self._receivers.append(entry)

    def join_senders(self, entry: Sender) -> None:
        """Let one who found no room stand in line."""
        if self._granted:
            self.stop_quick_receives()
        self._senders.append(entry)

    def give_back(self, item: T) -> None:
        """Take back an item whose receiver was cancelled before it could run."""
        if self._receivers and self._hand_over(item):
            return
        if self._granted:
            self.stop_quick_receives()
        self._room = 0
        if isinstance(self._returned, deque):
            self._returned.append(item)
        else:
            self._returned = deque([item])

    def shut(self) -> None:
        """Close: wake everybody who waits; what is buffered can still be received.

        Raises:
            ChannelClosed: it was closed before.
        """
        if self.closed:
            raise self._closed_error("close of")
        self.closed = True
        self._room = 0
        wake = self._wakes.wake if self._receivers or self._senders else None
        for receiver in self._receivers:
            assert wake is not None
            if type(receiver) is tuple:
                wake(receiver[0], (receiver[1], None, False))
            else:
                wake(cast("Waiter", receiver), CLOSED)
        self._receivers.clear()
        for sender in self._senders:
            assert wake is not None
            case = sender[2]
            wake(sender[0], CLOSED if case is None else (case, None, False))
        self._senders.clear()

    # -- the quick ways --------------------------------------------------------------

    def start_quick_sends(self) -> None:
        """Let sends go straight into the buffer, up to a share of the loop's budget."""
        if not self._receivers and not self._returned and not self.closed:
            room = len(self._items) + FAST_OPS
            self._room = min(self.capacity, room)

    def start_quick_receives(self) -> None:
        """Let receives come straight out of the buffer, a few dozen at most."""
        if self._items and not self._senders and not self._returned:
            self._granted = self._credit = QUICK_RECEIVES
            if self.capacity > FAST_OPS:  # what was drained meanwhile is no room for one burst
                self.start_quick_sends()

    def stop_quick_receives(self) -> None:
        """Send receives the slow way again, and charge the loop's budget for the quick ones."""
        self._wakes.credit -= self._granted - self._credit
        self._granted = self._credit = 0

    # -- questions -----------------------------------------------------------------

    def can_receive(self) -> bool:
        """Whether a receive would not wait (a closed channel is always ready)."""
        return (
            bool(self._items)
            or self.closed
            or bool(self._returned)
            or (bool(self._senders) and self._senders.first() is not None)
        )

    def can_send(self) -> bool:
        """Whether a send would not wait (on a closed channel it raises at once)."""
        return (
            len(self._items) + len(self._returned) < self.capacity
            or self.closed
            or (bool(self._receivers) and self._receivers.first() is not None)
        )

    def __len__(self) -> int:
        """Count the items that can be received without a sender."""
        return len(self._items) + len(self._returned)

    def __bool__(self) -> bool:
        """Be true also when empty: a channel is not a container to be tested for items."""
        return True

    def _closed_error(self, what: str) -> ChannelClosed:
        return ChannelClosed(f"{what} a closed channel")
