"""When callbacks or waiters pile up, as arithmetic.

Many callbacks on one future may be a leak or a busy day: ten thousand requests that each
wait for the same "shutdown" are ten thousand callbacks, and every one is in order. So
only *dead weight* is counted: callbacks that wake no task, waiters that wait no more.
What is alive and in order belongs to somebody who works, and work in asyncio means a
task; so dead weight in order cannot exceed the living tasks by much. In a leak it does
without bound: each round leaves one behind, and the tasks of the rounds are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["MIN_LOOKS", "MIN_WEIGHT", "piles_up"]

MIN_WEIGHT = 1_000
"""Dead weight beyond the living tasks, from which it is worth telling anybody."""

MIN_LOOKS = 3
"""Looks in a row at which it must have risen."""


def piles_up(weights: Sequence[int], tasks: int) -> bool:
    """Decide whether one object gathers dead weight.

    Args:
        weights: its dead weight at each look so far, oldest first.
        tasks: living tasks of the loop now.
    """
    last = weights[-MIN_LOOKS:]
    rises = len(last) == MIN_LOOKS and all(before < after for before, after in pairwise(last))
    return rises and last[0] > 0 and last[-1] - tasks > MIN_WEIGHT
