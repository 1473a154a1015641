"""What an exploration has seen."""

from __future__ import annotations

from dataclasses import dataclass

from backstay.testing.exploration._plan import Record

__all__ = ["Exploration", "Tally"]

# Coverage is counted on the first runs and on a sample of the rest: it costs as much as a short run.
_COUNTED = 500
_SAMPLE = 16
_SITUATIONS = 100_000


@dataclass(frozen=True, slots=True)
class Exploration:
    """The result of an exploration that found no failure.

    Attributes:
        schedules: how many runs there were.
        distinct: how many of them differed in order or cancellations.
        steps: handles run, over all runs.
        longest: steps of the longest run.
        choices: steps at which more than one task could run, over all runs.
        cancelled: tasks cancelled by the explorer, over all runs.
        exhaustive: whether every schedule within the bound was run ("dfs" only).
        options_seen: ways to go on that were met: situation (who is ready, in
            which order) times who could run.
        options_taken: how many of them were gone.
        waits_known: waits at which a task could be cancelled, in both windows
            (``cancel="systematic"`` only, else 0).
        waits_struck: those at which one was.
        elapsed_s: real seconds it took.
    """

    schedules: int
    distinct: int
    steps: int
    longest: int
    choices: int
    cancelled: int
    exhaustive: bool
    options_seen: int
    options_taken: int
    waits_known: int
    waits_struck: int
    elapsed_s: float

    @property
    def coverage(self) -> float:
        """The share of the ways to go on that were gone, 1.0 when there was never a choice."""
        return self.options_taken / self.options_seen if self.options_seen else 1.0

    def __str__(self) -> str:
        """Say it in a line."""
        rate = self.schedules / self.elapsed_s if self.elapsed_s else 0.0
        waits = (
            f", {self.waits_struck} of {self.waits_known} waits cancelled"
            if self.waits_known
            else ""
        )
        return (
            f"{self.schedules} schedules ({self.distinct} distinct{', all there are' if self.exhaustive else ''}), "
            f"{self.steps} steps, {self.choices} choices ({self.coverage:.0%} of the options taken), "
            f"{self.cancelled} cancellations{waits}, {rate:.0f} schedules/s"
        )


class Tally:
    """Counts while an exploration runs."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.schedules = 0
        self._steps = 0
        self._longest = 0
        self._choices = 0
        self._cancelled = 0
        self._courses: set[int] = set()
        self._situations: dict[tuple[int, ...], set[int]] = {}

    def add(self, record: Record) -> None:
        """Count one run."""
        length = len(record.path)
        self._steps += length
        self._longest = max(self._longest, length)
        self._choices += len(record.choices)
        self._cancelled += len(record.cancels)
        self._courses.add(hash((*record.path, *record.cancels)))
        if self.schedules < _COUNTED or self.schedules % _SAMPLE == 0:
            self._count_situations(record)
        self.schedules += 1

    def _count_situations(self, record: Record) -> None:
        situations = self._situations
        for _, index, options in record.choices:
            taken = situations.get(options)
            if taken is None:
                if len(situations) >= _SITUATIONS:
                    continue
                taken = situations[options] = set()
            taken.add(index)

    def result(self, *, exhaustive: bool, waits: tuple[int, int], elapsed_s: float) -> Exploration:
        """Return the sums."""
        return Exploration(
            schedules=self.schedules,
            distinct=len(self._courses),
            steps=self._steps,
            longest=self._longest,
            choices=self._choices,
            cancelled=self._cancelled,
            exhaustive=exhaustive,
            options_seen=sum(map(len, self._situations)),
            options_taken=sum(map(len, self._situations.values())),
            waits_known=waits[0],
            waits_struck=waits[1],
            elapsed_s=elapsed_s,
        )
