"""`select`: wait for whichever of several sends and receives can go first.

Go's rules (`src/runtime/select.go`), in one pass over the cases and one dice:

1. Collect the cases that are ready; one of them is taken, each with the same
   chance. (Go polls in a random order and takes the first; same distribution.)
2. None is ready and there is a default: that.
3. Else one waiter stands in the line of *every* case. Whoever serves it first
   resolves it, and the entries in the other lines are stale from then on. They
   are taken out when the select goes on, so a quiet channel that is named in a
   million selects holds nothing of them.

A select cannot match itself: nothing of it stands in any line while it polls,
and once it is parked only other tasks serve lines. `None` stands for Go's nil
channel: never ready. A closed channel is always ready to be received from, and
choosing to send to it raises.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from backstay._base import Chance
from backstay.channels._bridge import lock_all, take_turn
from backstay.channels._channel import Channel
from backstay.channels._channel_state import CLOSED, NOTHING
from backstay.channels._home import ASK_WHEN_PARKING, HomedState
from backstay.channels._tickets import Ticket
from backstay.channels._views import RecvOnly, SendOnly
from backstay.sync._wake_queue import WaitLine, WakeQueue, here, wake_queue, was_given

__all__ = ["DEFAULT", "Case", "Selected", "select"]

DEFAULT: Final = -1
"""The index that `select(..., default=True)` returns when no case is ready."""

Case: TypeAlias = "RecvOnly[Any] | tuple[SendOnly[Any] | None, Any] | None"
"""A channel (or its receiving end) to receive from; a pair of a channel and an item to send; or None."""


class Selected(tuple[int, Any, bool]):
    """What a select did: `(index, value, ok)`, for `match`, for unpacking, or by name.

    Select makes it; what compares with it is a plain tuple: ``== (0, job, True)``.
    """

    # A tuple by hand: the constructor of a NamedTuple would be a third of a select.
    __slots__ = ()
    __match_args__ = ("index", "value", "ok")

    @property
    def index(self) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """The number of the case that went, from 0, or DEFAULT; it hides `tuple.index`."""
        return self[0]

    @property
    def value(self) -> Any:
        """What was received; None for a send, a closed channel and the default."""
        return self[1]

    @property
    def ok(self) -> bool:
        """Whether an item went; False when the channel was closed and drained, and by default."""
        return self[2]

    def __repr__(self) -> str:
        """Show the three by name."""
        return f"Selected(index={self[0]}, value={self[1]!r}, ok={self[2]})"


_dice = Chance()
_roll = _dice.random  # a method of C: a tenth of a select, else
# Types that no checker narrows to: what is inside a case is Any, not unknown.
_channel_type: Any = Channel
_pair_type: Any = tuple
_NOT_TAKEN: Final = Selected((DEFAULT, None, False))

# A case as it is worked with: the channel, and the item to send or NOTHING for a receive.
_Parsed: TypeAlias = "tuple[HomedState[Any] | None, Any]"


async def select(*cases: Case, default: bool = False) -> Selected:
    """Do whichever of the cases can go first; of several, one by fair chance.

    ::

        match await select(jobs, stop, (audit, entry), after(1.0)):
            case Selected(0, job, True): ...     # received from jobs
            case Selected(0): ...                # jobs is closed and drained
            case Selected(1): return             # stop has an item, or was closed
            case Selected(2): ...                # entry was sent to audit
            case Selected(3): ...                # a second went by

    Args:
        cases: a channel to receive from it, a pair `(channel, item)` to send, or
            None for a case that is switched off for now.
        default: never wait: when no case is ready, return with index DEFAULT.

    Returns:
        `Selected(index, value, ok)`.

    Raises:
        ChannelClosed: the case that was chosen sends, and its channel is closed.
        ChannelMisuse: a channel lives in another event loop.
        TypeError: a case is neither of the three.

    Cancelled: nothing was received, and no item is lost; as with `Channel.send` a
    receiver may have taken the item of a send case in the same turn.

    Cost: with two buffered channels about twice a `recv`; see ``benchmarks/channels.py``.
    """
    count = len(cases)
    index = 0
    if count:
        # A glance at one case, drawn fairly, is enough when it is ready. When it is not, those
        # that are draw among themselves: so each ready case has the same chance.
        index = (0 if _roll() < 0.5 else 1) if count == 2 else int(_roll() * count)
        case: Any = cases[index]
        if type(case) is _channel_type and case._credit and case._items:
            case._credit -= 1
            return Selected((index, case._items.popleft(), True))
    parsed = [_parse(case) for case in cases]
    token = here()
    wakes: WakeQueue | None = None
    for state, _ in parsed:
        if state is not None:
            if state._home != token:
                if any(state is not None and state._lock is not None for state, _ in parsed):
                    return await _select_shared(parsed, default, index)
                state._settle()
            wakes = state._wakes
    if wakes is None:  # nil channels only
        wakes = wake_queue()
    ready = _ready(parsed)
    if ready and wakes.credit <= 0:
        await wakes.pause()
        ready = _ready(parsed)
    wakes.credit -= 1
    if ready:
        return _take(_pick(ready, index), parsed)
    if default:
        return _NOT_TAKEN
    return await _park(parsed, wakes, index)


def _parse(case: Any) -> _Parsed:
    """Read a case."""
    if isinstance(case, RecvOnly):
        return case._state, NOTHING
    if case is None:
        return None, NOTHING
    if isinstance(case, _pair_type) and len(case) == 2:
        channel, item = case
        if channel is None:
            return None, item
        if isinstance(channel, SendOnly):
            return channel._state, item
    raise TypeError(
        f"a case of select is a channel (to receive), a pair of channel and item (to send), or None; "
        f"not {case!r}"
    )


def _take(index: int, cases: Sequence[_Parsed]) -> Selected:
    """Do a case that is ready."""
    state, item = cases[index]
    assert state is not None
    if item is NOTHING:
        if state._granted:
            state.stop_quick_receives()
        item = state.poll()
        if state._lock is None:
            state.start_quick_receives()
        return Selected((index, None, False) if item is CLOSED else (index, item, True))
    state.offer(item)
    return Selected((index, None, True))


def _ready(cases: Sequence[_Parsed]) -> list[int]:
    return [
        index
        for index, (state, item) in enumerate(cases)
        if state is not None and (state.can_receive() if item is NOTHING else state.can_send())
    ]


def _pick(ready: list[int], drawn: int) -> int:
    """Choose among the ready cases; `drawn` was drawn from all of them."""
    return drawn if drawn in ready else ready[int(_roll() * len(ready))]


async def _park(cases: list[_Parsed], wakes: WakeQueue, drawn: int) -> Selected:
    if ASK_WHEN_PARKING:
        for state, _ in cases:
            if state is not None and state._loop is not get_running_loop():
                state._settle()
                wakes = state._wakes
    waiter = wakes.waiter()
    standing = _line_up(cases, waiter, drawn)
    try:
        answer: tuple[int, Any, bool] = await waiter
    except BaseException:
        if was_given(waiter):
            _give_back(cases, waiter.result())
        _leave(standing)
        raise
    _leave(standing)
    return _answered(cases, answer)


async def _select_shared(cases: list[_Parsed], default: bool, drawn: int) -> Selected:
    """Do the same where several threads may serve: under all locks, with a ticket."""
    states = [state for state, _ in cases if state is not None]
    await take_turn()
    for state in states:
        if state._lock is None:
            state._settle()
    with lock_all(states):
        ready = _ready(cases)
        if ready:
            return _take(_pick(ready, drawn), cases)
        if default:
            return _NOT_TAKEN
        ticket = Ticket()
        standing = _line_up(cases, ticket, drawn)
    try:
        answer: tuple[int, Any, bool] = await ticket.waiter
    except BaseException:
        with lock_all(states):
            if not ticket.claim_back():
                _give_back(cases, ticket.value)
            _leave(standing)
        raise
    with lock_all(states):
        _leave(standing)
    return _answered(cases, answer)


def _line_up(cases: list[_Parsed], waiter: Any, drawn: int) -> list[tuple[WaitLine[Any], Any]]:
    """Let one waiter stand in the lines of all cases; return where it stands.

    It begins with the case that was drawn: of several on one channel the first in line is served.
    """
    standing: list[tuple[WaitLine[Any], Any]] = []
    for index in (*range(drawn, len(cases)), *range(drawn)):
        state, item = cases[index]
        if state is None:
            continue
        entry: Any
        if item is NOTHING:
            entry = (waiter, index)
            state.join_receivers(entry)
            standing.append((state._receivers, entry))
        else:
            entry = (waiter, item, index)
            state.join_senders(entry)
            standing.append((state._senders, entry))
    return standing


def _leave(standing: list[tuple[WaitLine[Any], Any]]) -> None:
    for line, entry in standing:
        line.discard(entry)


def _give_back(cases: list[_Parsed], answer: tuple[int, Any, bool]) -> None:
    """Return what a cancelled select had been handed; what it had sent stays sent."""
    index, value, ok = answer
    state, item = cases[index]
    if ok and item is NOTHING and state is not None:
        state.give_back(value)


def _answered(cases: list[_Parsed], answer: tuple[int, Any, bool]) -> Selected:
    index, _, ok = answer
    state, item = cases[index]
    if not ok and item is not NOTHING and state is not None:
        raise state._closed_error("send on")
    return Selected(answer)
