"""Random walk: at each choice, any of the ready tasks with equal chance.

Simple, hard to beat where a bug needs few things to coincide, and with no blind
spot: every schedule has some chance. Long runs average out, though: a bug that
needs one task to stand still for long is found by `_pct`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from backstay.testing.exploration._plan import Chooser, Plan, Record

__all__ = ["RandomWalk"]


class RandomWalk:
    """Rolls the dice at each choice."""

    def __init__(self, dice: random.Random) -> None:
        """Roll `dice`; the first run keeps the order of arrival."""
        self._choose = uniform(dice)

    def plan(self, number: int) -> Plan:
        """Return a plan that follows the dice."""
        return Plan(chance=number) if number == 0 else Plan(self._choose, chance=number)

    def learn(self, record: Record) -> None:
        """Nothing is remembered."""


def uniform(dice: random.Random) -> Chooser:
    """Return a chooser that gives all options the same chance."""
    roll = dice.random

    def choose(sources: Sequence[int], count: int, step: int) -> int:
        return int(roll() * count)

    return choose
