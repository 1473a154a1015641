"""Where an adaptive rate learns what its dependency does: something that can be asked.

Without any the rate counts the calls made through it. `CounterSource` reads two numbers that
somebody counts already: a policy, an exporter of metrics. Across processes there is
`backstay.integrations.prometheus_query`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from backstay.guard.rules.throughput_limit import Throughput
from backstay.sync._home import read_clock

__all__ = ["CounterSource", "ThroughputSource"]


class ThroughputSource(Protocol):
    """Measures good throughput."""

    async def measure(self, since: float) -> Throughput:
        """Return what was done lately, up to now.

        Whatever it raises is kept for the statistics of the rate, and no caller of the rate
        sees it.

        Args:
            since: when the limit moved last, on the clock of `backstay.now()`. What was before
                may be left out, and the limit follows sooner if it is.
        """
        ...


class CounterSource:
    """Two counters that only rise, read now and then.

    ::

        payments = Policy("payments", rate=AdaptiveRate(ThroughputLimit(100), CounterSource(count)))

        def count() -> tuple[float, float]:
            seen = payments.statistics()
            return seen.ok, seen.ok + seen.failed
    """

    __slots__ = ("_count", "_seen", "_window")

    def __init__(self, count: Callable[[], tuple[float, float]], *, window: float = 300.0) -> None:
        """Read nothing yet.

        Args:
            count: returns what ended well, and what ended well or badly, since the start.
            window: seconds over which their growth is measured, > 0.

        Raises:
            ValueError: the window is empty.
        """
        if not window > 0:
            raise ValueError(f"a window spans more than 0 seconds, not {window!r}")
        self._count = count
        self._window = window
        self._seen: deque[tuple[float, float, float]] = deque()  # when, and both counters then

    async def measure(self, since: float) -> Throughput:
        """Return the growth of both counters since `since`, or over the window.

        Raises:
            ValueError: a counter has fallen; what was read before is forgotten.
        """
        now = read_clock.read()
        good, asked = self._count()
        seen = self._seen
        if seen and (good < seen[-1][1] or asked < seen[-1][2]):
            seen.clear()
            raise ValueError(f"a counter has fallen, to {good:g} good of {asked:g}: it begins anew")
        begin = max(since, now - self._window)
        while len(seen) > 1 and seen[1][0] <= begin:
            seen.popleft()
        # The last reading before the window is its beginning, unless the limit moved after it.
        if seen and seen[0][0] < since and len(seen) > 1:
            seen.popleft()
        seen.append((now, good, asked))
        then, good_then, asked_then = seen[0]
        seconds = now - then
        if seconds <= 0:
            return Throughput(0.0, 0.0, 0.0)
        return Throughput((good - good_then) / seconds, (asked - asked_then) / seconds, seconds)
