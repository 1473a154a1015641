"""The arithmetic of every guard: no await, no clock, no dice.

A rule takes `now` and numbers and returns a verdict, so that production, the
property tests and the lab's simulator run the same object. Seconds are floats on
one clock that never goes back; chance is handed in as a number in [0, 1).
"""

from backstay.guard.rules.outcomes import FAIL, NEUTRAL, OK, Outcome

__all__ = ["FAIL", "NEUTRAL", "OK", "Outcome"]
