"""The only dice, so that a seeded run repeats itself exactly."""

from __future__ import annotations

import random as _stdlib

__all__ = ["Chance", "random"]


class Chance(_stdlib.Random):
    """A seedable source of chance, one per component that needs its own sequence.

    Two components that share one generator disturb each other's sequence when
    either changes; give each its own `Chance(seed)`.
    """


_shared = Chance()


def random() -> float:
    """Return a number in [0, 1) from the process-wide source."""
    return _shared.random()
