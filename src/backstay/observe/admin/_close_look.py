"""Samples close together, for as long as somebody diagnoses.

The history behind the leak report is sampled every 30 s and reaches back for hours; whoever
diagnoses wants growth judged within half a minute. Samples that close would push the hours
out of that history, so they go into one of their own, which is forgotten soon after the last question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from backstay import leak

__all__ = ["CloseLook"]

#: Seconds without a question after which the samples are of another time.
FORGET_S = 60.0
#: Seconds between two samples at least, however many people ask.
LEAST_GAP_S = 0.2
# Share of the time that sampling may take. More than in the background: somebody waits for it.
_BUDGET_SHARE = 0.1

Loop = asyncio.AbstractEventLoop


class CloseLook:
    """Samplers that are driven by questions; used by one thread."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.samplers: dict[Loop, leak.Sampler] = {}
        self._last: float | None = None

    def sample(self, loops: Sequence[Loop], at: float) -> dict[str, object]:
        """Take a sample of each loop, unless the last one is too recent.

        Args:
            loops: those that are tracked.
            at: the present, seconds on the clock of `now()`.

        Returns:
            How many samples there are, how far they reach back, and after how many seconds the next
            one is welcome.

        Cost: about a microsecond a task.
        """
        self.forget(at)
        if self._last is None or at - self._last >= LEAST_GAP_S:
            self._last = at
            for gone in [loop for loop in self.samplers if loop not in loops]:
                del self.samplers[gone]
            for loop in loops:
                self.samplers.setdefault(loop, leak.Sampler(loop, 1.0)).sample(at)
        known = [sampler.statistics() for sampler in self.samplers.values()]
        cost = sum(one.last_cost_s for one in known)
        return {
            "samples": max((one.samples for one in known), default=0),
            "span_s": round(max((one.span_s for one in known), default=0.0), 3),
            "next_s": round(max(LEAST_GAP_S, cost / _BUDGET_SHARE), 3),
        }

    def forget(self, at: float) -> None:
        """Drop the samples when nobody has asked for a while.

        Args:
            at: the present, seconds on the clock of `now()`.
        """
        if self._last is not None and at - self._last > FORGET_S:
            self.samplers.clear()
            self._last = None
