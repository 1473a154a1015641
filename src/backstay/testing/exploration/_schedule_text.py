"""A schedule as a short string that can be pasted into a command line, a URL or a test.

``b1tds0-3P1-0C2-F8kd1-x4f``, read from the left:

* ``b1``: version of this format.
* ``t`` or ``a``: order of tasks explored, or of arrival only; ``d`` or ``e``: timers when due, or early.
* ``s0``: the seed of chance.
* ``3P1``: three steps later than the last entry (from step 0), the option of index 1
  runs instead of what arrived first. ``0C2``: at the same step, task 2 is cancelled.
* ``F8kd1``: fingerprint of the whole course, so that a replay can tell that the program has changed.
* ``x4f``: checksum of the text, against slips in copying.

Numbers are in base 36. Only deviations from the order of arrival are written, so
that a schedule in which little matters is short, and survives small changes of the program.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

from backstay.errors import UsageError
from backstay.testing.exploration._exploring_loop import Order, Timers
from backstay.testing.exploration._plan import Cancel, Overtake, Path

__all__ = ["Schedule", "decode", "encode", "fingerprint"]

_VERSION: Final = "b1"
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_HEAD: Final = re.compile(r"b1([ta])([de])s([0-9a-z]+)")
_EVENT: Final = re.compile(r"([0-9a-z]+)([PC])([0-9a-z]+)")
_FINGERPRINT: Final = re.compile(r"F([0-9a-z]+)")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that makes a run what it is.

    Attributes:
        overtakes: deviations from the order of arrival, by step.
        cancels: cancellations, by step.
        chance: seed of chance.
        order: see `explore`.
        timers: see `explore`.
        course: fingerprint of the path it took, or None when not known.
    """

    overtakes: tuple[Overtake, ...] = ()
    cancels: tuple[Cancel, ...] = ()
    chance: int = 0
    order: Order = "tasks"
    timers: Timers = "due"
    course: int | None = None


def fingerprint(path: Path) -> int:
    """Return 32 bits that stand for a path."""
    return zlib.crc32(",".join(map(str, path)).encode())


def encode(schedule: Schedule) -> str:
    """Write a schedule as text."""
    head = (
        f"{_VERSION}{'t' if schedule.order == 'tasks' else 'a'}"
        f"{'d' if schedule.timers == 'due' else 'e'}s{_base36(schedule.chance)}"
    )
    parts = [head]
    before = 0
    # At one step, cancellations come before the choice.
    events = sorted(
        [(cancel.step, 0, cancel.task) for cancel in schedule.cancels]
        + [(overtake.step, 1, overtake.option) for overtake in schedule.overtakes]
    )
    for step, kind, value in events:
        parts.append(f"{_base36(step - before)}{'CP'[kind]}{_base36(value)}")
        before = step
    if schedule.course is not None:
        parts.append(f"F{_base36(schedule.course)}")
    text = "-".join(parts)
    return f"{text}-x{_checksum(text)}"


def decode(text: str) -> Schedule:
    """Read a schedule.

    Raises:
        UsageError: the text is of another version, damaged or cut off.
    """
    text = text.strip()
    body, _, check = text.rpartition("-x")
    if not text.startswith(_VERSION):
        raise UsageError(
            f"{text!r} is no schedule of this version: expected a string that begins with {_VERSION!r}"
        )
    if not body or check != _checksum(body):
        raise UsageError(
            f"the schedule {text!r} is damaged: copy the whole string, from {_VERSION!r} to the end"
        )
    first, *rest = body.split("-")
    head = _HEAD.fullmatch(first)
    if head is None:
        raise UsageError(f"the schedule {text!r} has a head that nobody wrote: {first!r}")
    overtakes: list[Overtake] = []
    cancels: list[Cancel] = []
    course: int | None = None
    step = 0
    for part in rest:
        if (event := _EVENT.fullmatch(part)) is not None:
            step += int(event[1], 36)
            value = int(event[3], 36)
            if event[2] == "P":
                overtakes.append(Overtake(step, value))
            else:
                cancels.append(Cancel(step, value))
        elif (printed := _FINGERPRINT.fullmatch(part)) is not None:
            course = int(printed[1], 36)
        else:
            raise UsageError(f"the schedule {text!r} has a part that means nothing: {part!r}")
    return Schedule(
        tuple(overtakes),
        tuple(cancels),
        int(head[3], 36),
        "tasks" if head[1] == "t" else "arrival",
        "due" if head[2] == "d" else "early",
        course,
    )


def _base36(number: int) -> str:
    if number < 36:
        return _DIGITS[number]
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits


def _checksum(text: str) -> str:
    return _base36(zlib.crc32(text.encode()) % 36**3)
