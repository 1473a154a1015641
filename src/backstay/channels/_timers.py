"""Time as a channel: `after` for time-outs in a select, `Ticker` for a beat.

Both hold a timer of the loop and no task. The timer knows its channel weakly, and
is cancelled when the channel goes: a time-out that lost its select leaves nothing
behind, unless somebody kept it to use it again.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import get_running_loop
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast
from weakref import ref

from backstay._base import now
from backstay.channels._channel import Channel
from backstay.channels._views import RecvOnly, RecvView
from backstay.errors import ChannelClosed

__all__ = ["Ticker", "TickerStatistics", "after"]


class _Feed(Channel[float]):
    """The channel behind a clockwork. It is on no list: selects make them by the thousand."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        # One place, so that a moment waits for its receiver; the next ones are dropped until then.
        super(Channel, self).__init__(1, name, False, sys._getframe())


class _Clockwork(RecvView[float]):
    """A channel of moments, fed by a timer that does not outlive it."""

    __slots__ = ("__weakref__", "_feed", "_timer")

    def __init__(self, name: str) -> None:
        """Make the channel; the timer is the subclass's."""
        self._timer: asyncio.TimerHandle | None = None
        self._feed: Channel[float] = _Feed(name)
        super().__init__(self._feed)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __del__(self) -> None:
        """Let the timer go with the channel."""
        timer = getattr(self, "_timer", None)  # absent when the constructor failed
        if timer is not None:
            timer.cancel()


class _Alarm(_Clockwork):
    """Receives one moment, when it has come."""

    __slots__ = ()

    def __init__(self, seconds: float | None) -> None:
        super().__init__("never" if seconds is None else f"after({seconds:g})")
        if seconds is None:
            return
        if seconds > 0:
            self._timer = get_running_loop().call_later(
                seconds, _ring, cast("ref[_Alarm]", ref(self))
            )
        else:
            self._feed.send_nowait(now())


def _ring(alarm: ref[_Alarm]) -> None:
    it = alarm()
    if it is not None:
        it._timer = None
        it._feed.send_nowait(now())


def after(seconds: float | None) -> RecvOnly[float]:
    """Return a channel that receives the time once, in `seconds`: a time-out for `select`.

    ::

        match await select(replies, after(2.0)):
            case Selected(0, reply, True): ...
            case Selected(1): ...                # two seconds without a reply

    Made inside the call it limits that one select; kept in a variable and named
    in several selects it limits them together.

    Args:
        seconds: from now; 0 or less is ready at once. None is never ready, so
            `after(remaining())` works with and without a deadline.

    Returns:
        The receiving end; what it receives is `now()` of the moment it rang.
    """
    return _Alarm(seconds)


@dataclass(frozen=True, slots=True)
class TickerStatistics:
    """How a ticker is doing at this moment."""

    name: str
    interval: float  # seconds
    ticks: int  # moments that came
    missed: int  # of these, how many found the one before still unreceived, and were dropped
    stopped: bool


class Ticker(_Clockwork):
    """A channel that receives the time every `interval` seconds.

    ::

        async with Ticker(0.5) as beat:
            async for moment in beat: ...        # or: await select(jobs, beat)

    The beat is kept against the clock, not against the receiver: after a slow
    round the next tick comes at its own time, and those that nobody was there
    for are dropped, all but one. Leaving the block (or `stop()`) closes the
    channel, so that whoever listens goes on. In Go a stopped ticker leaves its
    listeners waiting for ever; here they can tell the end from a tick by `ok`.
    """

    __slots__ = ("_missed", "_next", "_ticks", "interval")

    def __init__(self, interval: float, *, name: str | None = None) -> None:
        """Describe the beat; it starts with the block.

        Args:
            interval: seconds between two ticks, > 0; the first comes after one.
            name: for people.

        Raises:
            ValueError: `interval` is not above 0.
        """
        if not interval > 0:
            raise ValueError(f"a ticker needs an interval above 0 seconds, not {interval!r}")
        super().__init__(name or f"every {interval:g} s")
        self.interval = interval
        self._next = 0.0  # on the loop's clock
        self._ticks = 0
        self._missed = 0

    async def __aenter__(self) -> Ticker:
        """Start the beat."""
        if self._feed.closed or self._timer is not None:
            raise ChannelClosed(
                f"ticker {self._feed.name!r} was started before: make a new one for each block"
            )
        self._next = get_running_loop().time()
        self._schedule()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the beat."""
        self.stop()

    def stop(self) -> None:
        """End the beat and close the channel; twice is harmless."""
        self._drop_timer()
        if not self._feed.closed:
            self._feed.close()

    def reset(self, interval: float) -> None:
        """Change the beat; the next tick comes one new interval from now.

        Raises:
            ValueError: `interval` is not above 0.
            ChannelClosed: it does not run.
        """
        if not interval > 0:
            raise ValueError(f"a ticker needs an interval above 0 seconds, not {interval!r}")
        if self._timer is None:
            raise ChannelClosed(
                f"ticker {self._feed.name!r} does not run: reset it inside its block"
            )
        self._drop_timer()
        self.interval = interval
        self._next = get_running_loop().time()
        self._schedule()

    def statistics(self) -> TickerStatistics:
        """Tell how many ticks came, and how many of them nobody was there for."""
        return TickerStatistics(
            name=self._feed.name,
            interval=self.interval,
            ticks=self._ticks,
            missed=self._missed,
            stopped=self._feed.closed,
        )

    def _schedule(self) -> None:
        loop = get_running_loop()
        # The next beat in the future; those that a blocked loop slept through are missed.
        behind = int(max(0.0, loop.time() - self._next) / self.interval)
        self._missed += behind
        self._ticks += behind
        self._next += (behind + 1) * self.interval
        self._timer = loop.call_at(self._next, _tick, cast("ref[Ticker]", ref(self)))

    def __repr__(self) -> str:
        """Show the name and the beat."""
        return f"<Ticker {self._feed.name!r} every {self.interval:g} s>"


def _tick(ticker: ref[Ticker]) -> None:
    it = ticker()
    if it is not None:
        it._ticks += 1
        feed: Any = it._feed
        if feed.can_send():
            feed.send_nowait(now())
        else:
            it._missed += 1
        it._schedule()
