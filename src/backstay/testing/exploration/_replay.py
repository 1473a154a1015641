"""Follow a schedule that is known already."""

from __future__ import annotations

from collections.abc import Sequence

from backstay.testing.exploration._explored_task import ExploredTask
from backstay.testing.exploration._plan import Cancel, CancelAtSteps, Overtake, Plan, Record
from backstay.testing.exploration._schedule_text import Schedule, fingerprint

__all__ = ["follow", "schedule_of", "was_followed"]


def follow(schedule: Schedule) -> Plan:
    """Return the plan that does what the schedule says, and otherwise keeps the order of arrival.

    What the program does not offer (any more) is left out; `was_followed` tells.
    """
    at = {overtake.step: overtake.option for overtake in schedule.overtakes}
    due = list(schedule.cancels)

    def choose(sources: Sequence[int], count: int, step: int) -> int:
        index = at.get(step, 0)
        return index if index < count else 0

    def victim(step: int, victims: Sequence[ExploredTask]) -> ExploredTask | None:
        number = due.pop(0).task
        return next((task for task in victims if task.number == number), None)

    cancels = CancelAtSteps([cancel.step for cancel in due], victim) if due else None
    return Plan(choose, cancels, schedule.chance)


def was_followed(record: Record, overtakes: Sequence[Overtake], cancels: Sequence[Cancel]) -> bool:
    """Tell whether every deviation that was asked for has happened."""
    return record.overtakes == list(overtakes) and record.cancels == list(cancels)


def schedule_of(record: Record, like: Schedule) -> Schedule:
    """Return the schedule that a run has followed, with the settings of `like`."""
    return Schedule(
        tuple(record.overtakes),
        tuple(record.cancels),
        record.chance,
        like.order,
        like.timers,
        fingerprint(record.path),
    )
