"""A loop without real time: when everything is blocked, time jumps to the next timer.

Prior art: trio's autojump clock. Here the jump sits in the selector, which is
the one place where a stock asyncio loop waits: asked to wait `t` seconds for
nothing, the virtual selector moves the clock by `t` and returns at once. The
loop itself stays asyncio's own, so what is tested is the code that ships.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from backstay._base import use_clock
from backstay.errors import BackstayError
from backstay.tasks import install

__all__ = ["DeadlockError", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

# 2026-01-01 00:00 UTC: a fixed date, so that wall-clock output is the same in each run.
_EPOCH = 1_767_225_600.0


class DeadlockError(BackstayError):
    """Nothing can ever happen again: every task waits, and no timer is set."""


class VirtualClock:
    """Time that moves only when told to; usable wherever a `Clock` is."""

    def __init__(self, start: float = 0.0) -> None:
        """Begin at `start` seconds."""
        self._elapsed = start

    def monotonic(self) -> float:
        """Return virtual seconds since the start."""
        return self._elapsed

    def wall(self) -> float:
        """Return virtual unix time; the epoch of the virtual world is 2026-01-01 UTC."""
        return _EPOCH + self._elapsed

    def advance(self, seconds: float) -> None:
        """Move time forward.

        Raises:
            ValueError: `seconds` is negative.
        """
        if not seconds >= 0:
            raise ValueError(f"time only moves forward, not by {seconds!r} seconds")
        self._elapsed += seconds


class _JumpingSelector(selectors.BaseSelector):
    """Waits for nothing: files are polled, and a wait becomes a jump of the clock."""

    def __init__(self, clock: VirtualClock, tell_blocked: Callable[[], bool]) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock
        self._tell_blocked = tell_blocked  # True when that gave the loop something to do
        self.patience = 0.0  # real seconds to give other threads before a jump

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(self.patience if timeout is None or timeout > 0 else 0)
        if ready:
            return ready
        if (timeout is None or timeout > 0) and self._tell_blocked():
            return []
        if timeout is None:
            # Besides the loop's own wake-up pipe nothing is registered in a virtual test,
            # so nobody is left who could end this wait.
            if len(self._real.get_map()) <= 1 and not self.patience:
                raise DeadlockError(
                    "every task is blocked and no timer is set, so nothing can ever happen: "
                    "look for a task that waits for something nobody will do; if it waits for a "
                    "thread (asyncio.to_thread), give that real time with patience=0.05"
                )
            return self._real.select(1.0)
        if timeout > 0:
            self._clock.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A stock asyncio loop on a virtual clock.

    Args:
        clock: the clock to drive; a new one starting at 0 when omitted.
        patience: real seconds to wait for other threads before time jumps; leave
            it 0 unless the code under test uses threads or sockets.
    """

    def __init__(self, clock: VirtualClock | None = None, *, patience: float = 0.0) -> None:
        """Make the loop; run it with `asyncio.Runner` or use `run_virtual`."""
        self.clock = clock or VirtualClock()
        self._blocked_watchers: list[asyncio.Future[None]] = []
        self._patience = patience
        super().__init__(self._make_selector())
        # asyncio rounds timers to the clock's resolution; ours is exact.
        self._clock_resolution = 1e-9

    def _make_selector(self) -> selectors.BaseSelector:
        selector = _JumpingSelector(self.clock, self._tell_blocked)
        selector.patience = self._patience
        return selector

    def when_blocked(self) -> asyncio.Future[None]:
        """Return a future that is done once every task is blocked, before time jumps."""
        watcher: asyncio.Future[None] = self.create_future()
        self._blocked_watchers.append(watcher)
        return watcher

    def _tell_blocked(self) -> bool:
        """Wake whoever waits for all others to be blocked; False when nobody does."""
        watchers, self._blocked_watchers = self._blocked_watchers, []
        waiting = [watcher for watcher in watchers if not watcher.done()]
        for watcher in waiting:
            watcher.set_result(None)
        return bool(waiting)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Join the threads of the default executor, in real time.

        asyncio waits for them with a timer, which in virtual time is over at once.
        """
        executor: concurrent.futures.Executor | None = getattr(self, "_default_executor", None)
        self._executor_shutdown_called = True
        if executor is not None:
            executor.shutdown(wait=True)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.clock.monotonic()


def run_virtual(
    main: Callable[..., Awaitable[T]],
    *args: object,
    clock: VirtualClock | None = None,
    patience: float = 0.0,
    track: bool = True,
) -> T:
    """Run `main(*args)` in virtual time and return its result.

    ::

        async def sleeper() -> float:
            await asyncio.sleep(3600)
            return backstay.now()

        assert run_virtual(sleeper) == 3600.0      # takes a millisecond

    Args:
        main: an async function.
        args: its arguments.
        clock: the clock to drive, to look at it from outside.
        patience: real seconds given to other threads before time jumps.
        track: whether tasks are tracked, as under `backstay.run`.

    Raises:
        DeadlockError: every task is blocked and no timer could end it.
    """
    clock = clock or VirtualClock()

    async def body() -> T:
        if track:
            install(exact=True)
        return await main(*args)

    with (
        use_clock(clock),
        asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, patience=patience)) as runner,
    ):
        return runner.run(body())
