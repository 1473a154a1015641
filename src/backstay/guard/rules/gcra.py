"""GCRA: a token bucket kept in one number.

The generic cell rate algorithm (ITU-T I.371, ATM Forum TM 4.1) asks when the next
call would arrive if all calls kept the rate exactly: the *theoretical arrival time*.
A call may come earlier than that by what a full burst is worth, and no more. It is
the token bucket in other words (`level` translates), but its state is a single
time: easy to keep in a shared store, exact about when to come back, and right
whatever lies between two calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

__all__ = ["ROUNDING_S", "Gcra"]

# A wait that was slept exactly must suffice: sums of floats may miss by the last digits.
ROUNDING_S = 1e-9


@dataclass(slots=True)
class Gcra:
    """Admits `rate` a second on average, and up to `burst` at once after a pause.

    Invariant: in any span of `d` seconds no more than ``burst + rate * d`` is admitted,
    as long as neither is changed meanwhile and nothing is taken for more than `burst`.

    Attributes:
        rate: units a second, > 0.
        burst: units at once, >= 1.
        due: the theoretical arrival time, in seconds on the caller's clock; a time in
            the past means a full burst.
        unit: seconds that one unit is worth, 1 / rate.
        spare: how far ahead of now `due` may be for one more unit to fit; a caller for whom
            the call of `take` is too dear may compare with it by itself.
    """

    rate: float
    burst: float
    due: float = float("-inf")
    unit: float = field(init=False, repr=False)
    spare: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of range.
        """
        self.set(self.rate, self.burst)

    def set(self, rate: float, burst: float) -> None:
        """Change the limit; what was admitted stays admitted.

        Raises:
            ValueError: a number is out of range.
        """
        if not (rate > 0 and isfinite(rate)):
            raise ValueError(f"a rate is above 0 a second and finite, not {rate!r}")
        if not (burst >= 1 and isfinite(burst)):
            raise ValueError(f"a burst is at least 1 and finite, not {burst!r}")
        self.rate = rate
        self.burst = burst
        self.unit = 1 / rate
        self.spare = (burst - 1) / rate + ROUNDING_S

    def change(self, rate: float, burst: float, now: float) -> None:
        """Change the limit as of now; what is not paid off yet is paid at the new rate.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        behind = max(0.0, self.due - now) * self.rate
        self.set(rate, burst)
        self.due = now + behind / rate

    def check(self, cost: float) -> None:
        """Refuse a cost that can never be taken.

        Raises:
            ValueError: it is not positive, or more than a burst.
        """
        if not 0 < cost <= self.burst:
            raise ValueError(
                f"cannot take {cost:g} of a limit with a burst of {self.burst:g}: "
                f"take between 0 and {self.burst:g} at a time, or raise the burst"
            )

    def take(self, cost: float, now: float) -> float:
        """Take `cost` units, or take nothing and say how long to wait.

        Args:
            cost: how many, 0 < cost <= burst.
            now: seconds, never earlier than last time.

        Returns:
            0.0 when taken; otherwise the seconds until the same call would succeed.

        Raises:
            ValueError: `cost` is not positive, or can never fit.
        """
        self.check(cost)
        due = self.due
        if due < now:
            due = now
        early = due - now - (self.burst - cost) / self.rate
        if early > ROUNDING_S:
            return early
        self.due = due + cost / self.rate
        return 0.0

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until `cost` units will have come free, 0.0 if they are now.

        Unlike `take` this answers for more than a burst, too: for all who stand in line.
        """
        return max(0.0, (cost - self.level(now)) / self.rate)

    def wait_behind(self, ahead: float, cost: float, now: float) -> float:
        """Return the seconds until `cost` units will have come free behind those who want `ahead`."""
        return self.wait(ahead + cost, now)

    def fitting(self, cost: float) -> float:
        """Return what is taken for a call that waits since the burst was larger."""
        return min(cost, self.burst)

    def owe(self, cost: float, now: float) -> None:
        """Take `cost` units that are not free yet."""
        self.due = max(self.due, now) + cost / self.rate

    def give_back(self, cost: float) -> None:
        """Return units that were taken and not used."""
        self.due -= cost / self.rate

    def height(self, now: float) -> float:
        """Return the rate that is permitted now, in units a second."""
        return self.rate

    def level(self, now: float) -> float:
        """Return how many units could be taken at once."""
        return self.burst - max(0.0, self.due - now) * self.rate
