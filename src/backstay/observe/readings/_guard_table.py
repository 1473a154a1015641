"""The guards of this process: who guards what, and how it is doing, for documents and for metrics.

Reading a guard may turn its window, so it is the guard's own loop that reads it, when the
admin plane asks. A blocked loop does not come to it; then the last reading is shown with
its age, which the samples for the leak report keep from growing old.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from heapq import nlargest
from itertools import islice
from math import isfinite
from typing import Any, Final, cast
from weakref import WeakKeyDictionary, ref

from backstay._base import now
from backstay.guard import Guard, guards
from backstay.guard._guard import lives_in
from backstay.tasks import installed_loops

__all__ = ["GuardReading", "GuardTable"]

Loop = asyncio.AbstractEventLoop

#: Guards in a document. More of them are made in a loop by mistake, or one for each key.
MOST_GUARDS: Final = 500
#: Guards that a loop reads at a time: less than a millisecond.
_BATCH: Final = 25
#: Seconds that a document waits for the loops; what has not come by then is shown as it was.
_PATIENCE_S: Final = 0.05
_LONGEST_NAME: Final = 200
_MOST_ENTRIES: Final = 32
#: The texts that are words of ours. Others may be anything: an error with an address in it.
_WORDS: Final = frozenset({"state", "source", "store"})
#: Room and use of what can be full, by the fields of its record.
_ROOM: Final = (("limit", "in_flight"), ("max_open", "in_use"), ("workers", "running"))

_log = logging.getLogger("backstay.admin")


class GuardTable:
    """Reads the guards, and remembers the last reading of each for when its loop is blocked.

    Cost: a loop reads 25 guards at a time, some 25 µs each, when somebody asks and with each
    sample for the leak report.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._readings: WeakKeyDictionary[Guard, GuardReading] = WeakKeyDictionary()
        self._questions: WeakKeyDictionary[Loop, _Question] = WeakKeyDictionary()

    def ask(self) -> list[_Question]:
        """Have every guard read by its loop, soon; callable from any thread."""
        return self._ask(_listed())

    def document(self) -> dict[str, object]:
        """Return name, kind, mode, state and statistics of each guard; callable from any thread.

        Cost: waits for the loops, but not longer than 50 ms.
        """
        everyone = self._wait(_listed())
        shown = nlargest(MOST_GUARDS, everyone, key=lambda guard: guard.rejected)
        shown.sort(key=lambda guard: (guard.kind, guard.name))
        return {
            "pid": os.getpid(),
            "guards": [self._row(guard) for guard in shown],
            "left_out": len(everyone) - len(shown),
        }

    def readings(self) -> list[tuple[Guard, GuardReading]]:
        """Return every guard that could be read, by kind and name; callable from any thread.

        On the thread of a loop, its guards are read at once, and those of other loops are shown
        as they were when they were read last.

        Cost: waits for the loops, but not longer than 50 ms, and not at all on the thread of one.
        """
        everyone = self._wait(_listed())
        found = ((guard, self._readings.get(guard)) for guard in everyone)
        return [(guard, reading) for guard, reading in found if reading is not None]

    def _wait(self, everyone: tuple[Guard, ...]) -> tuple[Guard, ...]:
        """Have all of them read, and give their loops a moment; return them."""
        until = now() + (_PATIENCE_S if _loop_here() is None else 0.0)
        for question in self._ask(everyone):
            question.answered.wait(max(0.0, until - now()))
        return everyone

    def _ask(self, everyone: Iterable[Guard]) -> list[_Question]:
        running = [loop for loop in installed_loops() if loop.is_running()]
        if not running:  # so nobody is at work with a guard
            for guard in everyone:
                self._read(guard)
            return []
        # A guard where nobody ever waited has not settled anywhere: the first loop reads it.
        homes: dict[Loop, list[ref[Guard]]] = {loop: [] for loop in running}
        here = _loop_here()
        for guard in everyone:
            home = lives_in(guard)
            if here is not None and home in (here, None):
                self._read(guard)  # on its own loop's thread nobody has to be asked
            else:
                homes[home if home in homes else running[0]].append(ref(guard))
        questions: list[_Question] = []
        for loop, those in homes.items():
            if not those:
                continue
            question = self._questions.get(loop)
            if question is None or question.answered.is_set():
                question = self._questions[loop] = _Question(self, loop, those)
                question.send()
            questions.append(question)
        return questions

    def _read(self, guard: Guard) -> None:
        try:
            record = guard.statistics()
            self._readings[guard] = GuardReading(_fields(record), record, now())
        except Exception:
            # One that cannot tell must not hide the others, and the loop is not ours to break.
            _log.warning(
                "%s %r could not tell its statistics", guard.kind, guard.name, exc_info=True
            )

    def _row(self, guard: Guard) -> dict[str, object]:
        reading = self._readings.get(guard)
        figures = None if reading is None else reading.figures
        return {
            "name": _clean(guard.name),
            "kind": guard.kind,
            "mode": guard.mode,
            "state": _state(guard, figures or {}),
            "rejected": _rejected(guard, figures or {}),
            "age_s": None if reading is None else round(now() - reading.at, 3),
            "statistics": figures,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class GuardReading:
    """How a guard was doing when its loop read it.

    Attributes:
        figures: the numbers of its statistics, and no text of anybody else.
        record: the statistics themselves, which may hold texts and keys of callers.
        at: when, seconds on the clock of `now()`.
    """

    figures: dict[str, Any]
    record: object
    at: float


def _loop_here() -> Loop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Question:
    """Asks one loop to read its guards, a batch at a time.

    One is on its way to a loop at a time: a blocked loop piles up none.
    """

    __slots__ = ("__weakref__", "_loop", "_table", "_those", "answered")

    def __init__(self, table: GuardTable, loop: Loop, those: list[ref[Guard]]) -> None:
        self._table = table
        self._loop = ref(loop)
        self._those = those  # weak, so that a blocked loop keeps no guard alive
        self.answered = threading.Event()

    def send(self) -> None:
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._read_some)
                return
        except RuntimeError:
            pass  # closed since we looked
        self.answered.set()

    def _read_some(self) -> None:
        batch, self._those = self._those[:_BATCH], self._those[_BATCH:]
        for known in batch:
            guard = known()
            if guard is not None:
                self._table._read(guard)
        if self._those:
            self.send()
        else:
            self.answered.set()


def _listed() -> tuple[Guard, ...]:
    """Return the guards that live, while other threads make new ones."""
    for _ in range(10):
        try:
            return guards()
        except RuntimeError:  # the table grew while it was read
            continue
    return guards()


def _state(guard: Guard, figures: Mapping[str, Any]) -> str:
    """Say in a word how a guard is; "" for one that has no states."""
    own = getattr(guard, "state", None)
    if isinstance(own, str):
        return own
    if "source" in figures:
        return str(figures["source"])
    if "store" in figures:
        return f"store {figures['store']}"
    if figures.get("overloaded"):
        return "overloaded"
    if "probability" in figures:
        return "refusing" if figures["probability"] else "passing"
    for room, used in _ROOM:
        if figures.get(room) is not None and figures.get(used) is not None:
            return "full" if figures[used] >= figures[room] else "free"
    return ""


def _rejected(guard: Guard, figures: Mapping[str, Any]) -> float:
    """Count the refusals; a policy has none of its own and counts those of its parts by reason."""
    by_reason = figures.get("rejected")
    if isinstance(by_reason, dict):
        return sum(cast("dict[str, float]", by_reason).values())
    return guard.rejected


# -- what may be shown --------------------------------------------------------------


def _fields(record: object) -> dict[str, Any]:
    """Return the numbers of a record, and no text that an application or a peer has written.

    Left out are keys of callers, which may be credentials, messages of errors, and the
    buckets of durations, which would be most of the document.
    """
    if not dataclasses.is_dataclass(record):
        return {}
    found: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, str):
            if field.name in _WORDS:
                found[field.name] = value
        elif value is None or isinstance(value, bool | int | float):
            found[field.name] = _number(value)
        elif isinstance(value, Mapping):
            found[field.name] = _counts(cast("Mapping[object, object]", value))
        elif dataclasses.is_dataclass(value):
            found[field.name] = _fields(value)
    return found


def _counts(counted: Mapping[object, object]) -> dict[str, float | None]:
    numbers = ((key, n) for key, n in list(counted.items()) if isinstance(n, int | float))
    return {_clean(str(key)): _number(n) for key, n in islice(numbers, _MOST_ENTRIES)}


def _number(value: float | None) -> float | None:
    """JSON knows no infinity."""
    return value if value is None or isfinite(value) else None


def _clean(name: str) -> str:
    """Keep a name on one line of a terminal, and short."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:_LONGEST_NAME])
    return shown if len(name) <= _LONGEST_NAME else f"{shown[:-1]}…"
