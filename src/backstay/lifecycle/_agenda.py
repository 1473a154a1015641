"""Which runs are due: the rule of a schedule, on the wall clock, which jumps.

The rule is told the wall time at each look, and looks at what lies between this look and the one
before. That is all it takes for a jump: forward, there is more in between, and the policy for
missed instants decides; backward, instants come by again, and those that were begun are remembered.

*An instant that was begun is never begun again. One that was passed over without a run may be, when
the clock is set back and comes by it again.* So a clock that was a day ahead by mistake does not
silence a schedule for a day once it has been put right. What lies before the begin of the schedule is none of
its instants, wherever the clock is set: an earlier process may have run it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from backstay.lifecycle._timetable import Timetable

__all__ = ["Agenda", "Begun", "Missed", "Turn"]

Missed = Literal["skip", "once", "all"]

_RANGES: Final = 256  # of begun instants that are told apart
_STEPS: Final = 1000  # instants that one look steps over; then it leaps to the newest ones


class Begun:
    """The instants that were begun, as ranges: two numbers for a schedule that has missed none."""

    __slots__ = ("_ranges", "_timetable")

    def __init__(self, timetable: Timetable) -> None:
        """Remember none."""
        self._timetable = timetable
        self._ranges: list[
            tuple[float, float]
        ] = []  # apart, in order; each from its first to its last

    def add(self, instant: float) -> None:
        """Remember an instant of the timetable."""
        if self.last_of(instant) is not None:
            return
        ranges, after = self._ranges, self._timetable.next_after
        place = bisect_right(ranges, (instant, math.inf))
        first = last = instant
        if place < len(ranges) and after(instant) == ranges[place][0]:
            last = ranges.pop(place)[1]
        if place and after(ranges[place - 1][1]) == instant:
            place -= 1
            first = ranges.pop(place)[0]
        ranges.insert(place, (first, last))
        if (
            len(ranges) > _RANGES
        ):  # what lies between the two oldest is taken for begun: never twice
            (first, _), (_, last) = ranges[:2]
            ranges[:2] = [(first, last)]

    def last_of(self, instant: float) -> float | None:
        """Return the end of the range that an instant is in, or None when it was not begun."""
        place = bisect_right(self._ranges, (instant, math.inf))
        if place and instant <= self._ranges[place - 1][1]:
            return self._ranges[place - 1][1]
        return None

    def __len__(self) -> int:
        """Count the ranges."""
        return len(self._ranges)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one look has decided.

    Attributes:
        begin: instants to begin now, the oldest first.
        missed: instants that are given up because they came to notice too late, or because too
            many did; of a great many, those that were counted.
        overlapped: instants that are given up because all places were taken.
        dropped: the newest of those given up, each with the reason, the oldest first.
    """

    begin: tuple[float, ...] = ()
    missed: int = 0
    overlapped: int = 0
    dropped: tuple[tuple[float, Literal["missed", "overlapped"]], ...] = ()


class Agenda:
    """Decides at each look what begins, what waits, and what is given up.

    | policy | of the instants that are due at one look |
    | --- | --- |
    | "skip" | the newest begins, if it is at most `late` seconds old and there is a place |
    | "once" | the newest begins, however old it is, or waits for a place |
    | "all" | the newest `most` begin or wait for a place, the oldest first |
    """

    __slots__ = (
        "_answer",
        "_at",
        "_begun",
        "_floor",
        "_late",
        "_most",
        "_policy",
        "_timetable",
        "_waiting",
    )

    def __init__(
        self,
        timetable: Timetable,
        since: float,
        *,
        missed: Missed = "skip",
        most: int = 10,
        late: float = 60.0,
    ) -> None:
        """Begin to look.

        Args:
            timetable: what is planned.
            since: unix seconds; instants up to here are none of ours.
            missed: the policy.
            most: instants that "all" keeps, >= 1.
            late: seconds, for "skip".

        Raises:
            ValueError: a number is out of range, or a word is none of those above.
        """
        if missed not in ("skip", "once", "all"):
            raise ValueError(f'missed= is "skip", "once" or "all", not {missed!r}')
        if most < 1 or not late >= 0:
            raise ValueError(f"most >= 1 and late >= 0 are needed, not {most!r} and {late!r}")
        self._timetable = timetable
        self._at = self._floor = since
        self._policy = missed
        self._most = most if missed == "all" else 1
        self._late = late
        self._begun = Begun(timetable)
        self._answer: tuple[float, float | None] = (math.inf, None)  # after the first, the second
        self._waiting: deque[float] = deque()

    @property
    def waiting(self) -> int:
        """Instants that wait for a place."""
        return len(self._waiting)

    def look(self, wall: float, places: int) -> Turn:
        """Decide.

        Args:
            wall: what the clock on the wall shows, in unix seconds.
            places: runs that may begin now.
        """
        if wall < self._at:  # set back: what has not been begun will come by again
            self._waiting = deque(one for one in self._waiting if one <= wall)
        dropped: list[tuple[float, Literal["missed", "overlapped"]]] = []
        newest, passed = self._due(wall)
        self._at = max(wall, self._floor)
        self._waiting += newest
        while len(self._waiting) > self._most:
            dropped.append((self._waiting.popleft(), "missed"))
        while self._policy == "skip" and self._waiting and wall - self._waiting[0] > self._late:
            dropped.append((self._waiting.popleft(), "missed"))
        begin: list[float] = []
        while self._waiting and len(begin) < places:
            begin.append(self._waiting.popleft())
            self._begun.add(begin[-1])
        missed = passed + len(dropped)
        overlapped = 0
        while self._policy == "skip" and self._waiting:
            dropped.append((self._waiting.popleft(), "overlapped"))
            overlapped += 1
        return Turn(tuple(begin), missed, overlapped, tuple(dropped))

    def next_at(self, wall: float) -> float | None:
        """Return the next instant that has not been begun, or None when there is none any more."""
        return self._next(max(wall, self._floor))

    def _due(self, wall: float) -> tuple[list[float], int]:
        """Return the newest instants since the last look, and how many came before those."""
        newest: deque[float] = deque(maxlen=self._most)
        count = 0
        instant = self._next(self._at)
        while instant is not None and instant <= wall:
            if count == _STEPS:
                return self._newest(instant, wall), count
            newest.append(instant)
            count += 1
            instant = self._next(instant)
        return list(newest), count - len(newest)

    def _newest(self, start: float, wall: float) -> list[float]:
        """Return the newest instants without stepping over all that are before them."""
        span = 1.0
        while True:
            at = max(start, wall - span)
            newest: deque[float] = deque(maxlen=self._most)
            while (instant := self._next(at)) is not None and instant <= wall:
                newest.append(instant)
                at = instant
            if len(newest) == self._most or wall - span <= start:
                return list(newest)
            span *= 4

    def _next(self, at: float) -> float | None:
        instant = self._planned_after(at)
        while instant is not None and (last := self._begun.last_of(instant)) is not None:
            instant = self._planned_after(last)
        return instant

    def _planned_after(self, at: float) -> float | None:
        """Ask the timetable, unless its last answer is the answer to this question too."""
        since, upcoming = self._answer
        if since <= at and (upcoming is None or at < upcoming):
            return upcoming
        upcoming = self._timetable.next_after(at)
        self._answer = at, upcoming
        return upcoming
