"""What a person sees when a schedule fails."""

from __future__ import annotations

from collections.abc import Sequence

from backstay.errors import ExplorationFailure
from backstay.testing.exploration._plan import Record
from backstay.testing.exploration._schedule_text import Schedule

__all__ = ["failure"]

_SHOWN = 60  # lines of the trace in the message; all of them are in `.trace`

_WORDS = {
    "error": "the scenario raised",
    "deadlock": "everything is stuck",
    "budget": "it does not come to an end",
    "callback": "a callback raised",
    "unretrieved": "a task failed and nobody looked at its error",
    "refuses to end": "a task survives its cancellation",
}


def failure(
    record: Record, schedule: Schedule, text: str, lines: Sequence[str], schedules: int
) -> ExplorationFailure:
    """Make the error that carries the whole report."""
    error = record.error
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    deviations = len(schedule.overtakes)
    cancels = len(schedule.cancels)
    needs = (
        "It fails in the plain order of arrival."
        if not deviations + cancels
        else (f"It takes {_count(deviations, 'overtaking')} and {_count(cancels, 'cancellation')}.")
    )
    shown = list(lines[-_SHOWN:])
    if len(lines) > _SHOWN:
        shown.insert(0, f"       ... {len(lines) - _SHOWN} steps before, see .trace")
    report = "\n".join(
        [
            f"schedule {schedules} fails: {_WORDS[record.kind]}: {said}",
            f"{needs} Step by step:",
            *shown,
            "",
            "To see it again, call",
            f"    backstay.testing.replay(scenario, {text!r})",
            "or, for a test marked @pytest.mark.explore, run",
            f"    pytest --backstay-replay={text} <the test>",
        ]
    )
    return ExplorationFailure(
        report, replay=text, trace=tuple(lines), kind=record.kind, schedules=schedules
    )


def _count(number: int, thing: str) -> str:
    return f"no {thing}" if not number else f"{number} {thing}{'' if number == 1 else 's'}"
