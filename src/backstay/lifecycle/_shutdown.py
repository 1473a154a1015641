"""The arithmetic of a shutdown: which phase may take how long, and what came of it.

A shutdown has one deadline that somebody else enforces (Kubernetes sends
SIGKILL 30 s after SIGTERM), so the phases share one budget instead of having
time-outs that add up: what one phase leaves over, the next may use, and what
one takes too much, the rest pays for.

::

    signal      lame duck        drain                      hooks        margin
      |------------------|----------------------------|--------------|....|
      readiness 503      stop accepting               lifespan       end of budget

Pure: it is given the time and never sleeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from backstay.lifecycle._leftovers import Leftover

__all__ = ["PhaseRecord", "ShutdownBudget", "ShutdownRecord"]

#: Share of the budget kept back for shutdown hooks (closing pools, flushing), and its ceiling.
_HOOKS_SHARE = 0.2
_HOOKS_MOST_S = 5.0


@dataclass(frozen=True, slots=True)
class ShutdownBudget:
    """How the seconds from the first signal to the exit are shared out.

    Attributes:
        lame_duck: seconds to go on serving while readiness says no, so that load
            balancers can look away before connections are refused.
        grace: seconds for everything, from the signal to the exit.
    """

    lame_duck: float = 2.0
    grace: float = 25.0  # five less than what Kubernetes grants by default

    def __post_init__(self) -> None:
        """Refuse numbers that leave no time to drain.

        Raises:
            ValueError: a number is out of range, or the lame duck takes all of the grace.
        """
        if not 0 <= self.lame_duck < float("inf"):
            raise ValueError(f"a lame duck of {self.lame_duck:g} s: give 0 or more seconds")
        if not 0 < self.grace < float("inf"):
            raise ValueError(f"a grace of {self.grace:g} s: give more than 0 seconds")
        if self.lame_duck >= self.grace:
            raise ValueError(
                f"a lame duck of {self.lame_duck:g} s leaves nothing of the {self.grace:g} s of grace "
                f"to finish requests in: shorten the lame duck or lengthen the grace"
            )

    @property
    def hooks_reserve(self) -> float:
        """Seconds that draining must leave for the shutdown hooks."""
        return min(_HOOKS_MOST_S, _HOOKS_SHARE * (self.grace - self.lame_duck))

    def lame_duck_left(self, since: float, now: float) -> float:
        """Seconds still to serve as a lame duck; `since` is when the signal came."""
        return max(0.0, since + self.lame_duck - now)

    def drain_left(self, since: float, now: float) -> float:
        """Seconds that requests may still take."""
        return max(0.0, since + self.grace - self.hooks_reserve - now)

    def left(self, since: float, now: float) -> float:
        """Seconds until the process should be gone."""
        return max(0.0, since + self.grace - now)


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """How one phase of a shutdown went."""

    name: str
    took_s: float
    ok: bool
    detail: str = ""


@dataclass(slots=True)
class ShutdownRecord:
    """What happened from the signal to the exit."""

    signal: str = ""  # the name of the signal; "" when the server ended by itself
    phases: list[PhaseRecord] = field(default_factory=list[PhaseRecord])
    lost: Sequence[Leftover] = ()  # accepted requests that were cut
    leftovers: Sequence[Leftover] = ()  # other tasks alive after the last hook
    stubborn: Sequence[Leftover] = ()  # those of them that did not even end when cancelled
    failed_hooks: int = 0  # of those that were registered by `register_hook`

    @property
    def exit_code(self) -> int:
        """0 after a stop in order, also when requests had to be cut (they are `lost`); 1 when a hook failed.

        A supervisor takes anything else for a crash, and whoever asked for the stop has set its budget.
        """
        return 1 if self.failed_hooks else 0
