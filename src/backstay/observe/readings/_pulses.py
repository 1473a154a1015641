"""How late the loops of this process come round, asked from another thread."""

from __future__ import annotations

import asyncio
import threading
from weakref import WeakKeyDictionary

from backstay._base import now
from backstay.multiloop import running_multiloops
from backstay.tasks import installed_loops

__all__ = ["Pulses"]

Loop = asyncio.AbstractEventLoop

#: Seconds that a question about the loop's lag waits for the loop to answer. Longer tells
#: no more: an unanswered question keeps its age until the loop does answer.
_PATIENCE_S = 0.05


class Pulses:
    """How late the loops answer, asked from another thread.

    One question is on its way to a loop at a time. A blocked loop leaves it
    unanswered, and its age is the lag so far; so the answer grows while the
    loop is blocked, and a blocked loop does not pile up questions.
    """

    def __init__(self) -> None:
        """Ask nobody yet."""
        self._pulses: WeakKeyDictionary[Loop, _Pulse] = WeakKeyDictionary()

    def lag(self) -> float:
        """Return the seconds that the slowest running loop needs to come round; see `lags`."""
        return max((lag for _, lag in self.lags()), default=0.0)

    def lags(self) -> list[tuple[Loop, float]]:
        """Return the running loops, and the seconds that each needs to come round.

        Loops of multiloops are left out: they are made to be blocked.

        Cost: waits for the loops, but not longer than 50 ms; not at all on the thread of one, where
        what was answered last counts.
        """
        apart = {id(loop) for pool in running_multiloops() for loop in pool.loops}
        running = [
            loop for loop in installed_loops() if loop.is_running() and id(loop) not in apart
        ]
        pulses = [self._pulses.setdefault(loop, _Pulse()) for loop in running]
        if _on_a_loop():  # whoever is asked here answers when we are gone, for the next time
            told = [(loop, pulse.last()) for loop, pulse in zip(running, pulses, strict=True)]
            self._ask(running, pulses)
            return told
        self._ask(running, pulses)
        until = now() + _PATIENCE_S
        return [
            (loop, pulse.read(until - now())) for loop, pulse in zip(running, pulses, strict=True)
        ]

    def _ask(self, loops: list[Loop], pulses: list[_Pulse]) -> None:
        for loop, pulse in zip(loops, pulses, strict=True):
            pulse.ask(loop)


class _Pulse:
    def __init__(self) -> None:
        self._asked_at: float | None = None  # None: no question is on its way
        self._lag = 0.0
        self._answered = threading.Event()

    def ask(self, loop: Loop) -> None:
        if self._asked_at is None:
            self._answered.clear()
            self._asked_at = now()
            try:
                loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # closed since we looked
                self._answer()

    def _answer(self) -> None:
        asked_at, self._asked_at = self._asked_at, None
        self._lag = 0.0 if asked_at is None else now() - asked_at
        self._answered.set()

    def last(self) -> float:
        """Return the last answer, or the age of a question that has waited for longer than that."""
        asked_at = self._asked_at
        return self._lag if asked_at is None else max(self._lag, now() - asked_at)

    def read(self, patience: float) -> float:
        if self._answered.wait(max(0.0, patience)):
            return self._lag
        asked_at = self._asked_at
        return self._lag if asked_at is None else now() - asked_at


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
