"""Which faults come when in a soak. Pure: the same seed gives the same day."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from backstay.errors import UsageError
from backstay.lab.scenario import Fault

__all__ = ["soak_faults"]

_PAUSE_S = (5.0, 15.0)  # between the end of one fault and the next


def soak_faults(
    faults: Sequence[Fault], *, begin_s: float, end_s: float, seed: int
) -> tuple[Fault, ...]:
    """Repeat the faults of a scenario, one after the other in changing order, until `end_s`.

    Args:
        faults: each lasts as long as in the scenario; each must end, and say how.
        begin_s: seconds of load before the first fault.
        end_s: when the last one has ended, at the latest.
        seed: decides order and pauses.

    Raises:
        UsageError: a fault never ends.
    """
    for fault in faults:
        if fault.until_s is None or (fault.signal is None and fault.reset is None):
            raise UsageError(
                f"the fault {fault.label!r} never ends: a soak wants 'until_s', and 'reset' with what ends it"
            )
    dice = random.Random(seed)
    found: list[Fault] = []
    at = begin_s
    while faults:
        for fault in dice.sample(list(faults), len(faults)):
            lasts = (fault.until_s or 0.0) - fault.at_s
            at += dice.uniform(*_PAUSE_S)
            if at + lasts > end_s:
                return tuple(found)
            found.append(replace(fault, at_s=at, until_s=at + lasts))
            at += lasts
    return ()
