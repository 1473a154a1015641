"""Drop from a failing schedule whatever it does not need to fail.

Delta debugging (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing
Input", TSE 2002) over the deviations: take a part out, run, and keep what fails
in the same way. A schedule of the random walk deviates at half of its steps; the
two or three that matter are what a person needs to see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backstay.testing.exploration._plan import Cancel, Overtake, Record
from backstay.testing.exploration._replay import schedule_of
from backstay.testing.exploration._schedule_text import Schedule

__all__ = ["shrink"]

_TRIES = 400  # runs spent on a failing schedule: well below a second for a short scenario


def shrink(
    failing: Schedule, signature: object, run: Callable[[Schedule], Record]
) -> tuple[Schedule, int]:
    """Return a schedule with fewer deviations that fails alike, and how many runs it took."""
    best = failing
    tries = 0
    size = max(1, _events(best) // 2)
    while tries < _TRIES and _events(best):
        smaller = None
        for start in range(0, _events(best), size):
            candidate = _without(best, start, size)
            tries += 1
            record = run(candidate)
            if record.signature == signature:
                # What really happened, which may be less than what was asked for.
                happened = schedule_of(record, failing)
                if _events(happened) < _events(best):
                    smaller = happened
                    break
            if tries >= _TRIES:
                break
        if smaller is not None:
            best = smaller
            size = max(1, min(size, _events(best) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return best, tries


def _events(schedule: Schedule) -> int:
    return len(schedule.overtakes) + len(schedule.cancels)


def _without(schedule: Schedule, start: int, size: int) -> Schedule:
    """Take out deviations, the latest first: what comes after a failure's cause never matters."""
    events: Sequence[Overtake | Cancel] = sorted(
        [*schedule.overtakes, *schedule.cancels], key=lambda event: event.step, reverse=True
    )
    kept = {*events[:start], *events[start + size :]}
    return Schedule(
        tuple(each for each in schedule.overtakes if each in kept),
        tuple(each for each in schedule.cancels if each in kept),
        schedule.chance,
        schedule.order,
        schedule.timers,
    )
