"""The only dice, so that a seeded run repeats itself exactly."""

from __future__ import annotations

import random as _stdlib
from weakref import WeakSet

__all__ = ["Chance", "random", "reseed"]

# Those that nobody gave a seed: the ones a schedule explorer must be able to repeat.
_unseeded: WeakSet[Chance] = WeakSet()
_seeds: int | None = None  # where those made from now on start, once `reseed` was called


class Chance(_stdlib.Random):
    """A seedable source of chance, one per component that needs its own sequence.

    Two components that share one generator disturb each other's sequence when
    either changes; give each its own `Chance(seed)`.
    """

    def __init__(self, seed: float | str | bytes | None = None) -> None:
        """Start from `seed`, or from one that differs in each run of the program."""
        global _seeds
        if seed is None:
            _unseeded.add(self)
            if _seeds is not None:
                seed = _seeds = _seeds + 1
        super().__init__(seed)


def reseed(seed: int | None) -> None:
    """Start every source without a seed of its own anew, also those made later.

    For instruments that repeat a run: the schedule explorer, the simulator.

    Args:
        seed: from where; None to go back to chance that nobody can repeat.
    """
    global _seeds
    _seeds = seed
    for chance in _unseeded:
        chance.seed(seed)


_shared = Chance()


def random() -> float:
    """Return a number in [0, 1) from the process-wide source."""
    return _shared.random()
