"""Stop signals: the first asks, the second insists.

`signal.signal` and not `loop.add_signal_handler`: a handler of the loop never
runs while the loop is blocked, and that is when somebody sends the second one.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import FrameType

__all__ = ["SignalCount", "Stop", "exit_code", "heed_signals"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop(Enum):
    """What a stop signal means."""

    IN_ORDER = "in order"
    AT_ONCE = "at once"


@dataclass(slots=True)
class SignalCount:
    """Counts stop signals and says what each one means.

    Invariant: `first` never changes once set.
    """

    first: int | None = None  # the signal that began the end
    count: int = 0
    seen: list[int] = field(default_factory=list[int])

    def record(self, number: int) -> Stop:
        """Take note of a signal: the first means in order, every later one at once."""
        self.count += 1
        self.seen.append(number)
        if self.first is None:
            self.first = number
            return Stop.IN_ORDER
        return Stop.AT_ONCE


def exit_code(number: int) -> int:
    """Return the exit code of a process that a signal ended at once: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


@contextmanager
def heed_signals(
    on_stop: Callable[[int], None], at_once: Callable[[int], None]
) -> Generator[SignalCount]:
    """Call `on_stop` on the first SIGTERM or SIGINT and `at_once` on every later one.

    Both are called between two bytecodes of the main thread, whatever it is
    doing, so they should set a flag, wake a loop with `call_soon_threadsafe`, or
    end the process; and take no lock. The handlers of before come back at the
    end of the block.

    Raises:
        RuntimeError: not called from the main thread, the only one that gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("stop signals can be heeded in the main thread only: call it from there")
    count = SignalCount()

    def handle(number: int, frame: FrameType | None) -> None:
        (on_stop if count.record(number) is Stop.IN_ORDER else at_once)(number)

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield count
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
