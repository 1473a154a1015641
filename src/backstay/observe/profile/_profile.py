"""What a profile is here, whatever it counts: stacks, labels and numbers.

Strings and integers only. A profile is kept, sent and compared long after the
moment it shows, so it must hold no task, frame, code object or value of the
application.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from backstay.errors import UsageError

__all__ = ["Frame", "Key", "Profile", "Sample", "Table", "diff", "gathered", "merge"]


class Frame(NamedTuple):
    """One step of a stack."""

    function: str  # qualified name
    file: str  # as Python knows it; "" where there is none
    line: int  # 1-based; 0 when unknown

    @classmethod
    def parse(cls, text: str) -> Frame:
        """Read ``function at file:line``, the form in which other records tell a step."""
        function, at, place = text.rpartition(" at ")
        file, colon, line = place.rpartition(":")
        if not at or not colon or not line.isdecimal():
            return cls(text, "", 0)
        return cls(function, file, int(line))


Stack = tuple[Frame, ...]
Labels = tuple[tuple[str, str | int], ...]
Key = tuple[Stack, Labels]
Table = dict[Key, tuple[int, ...]]


class Sample(NamedTuple):
    """What was counted at one stack, for one set of labels."""

    stack: Stack  # innermost first
    values: tuple[int, ...]  # one for each kind of the profile
    labels: Labels = ()  # each name once; a number stands for itself, in no unit


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples of one or several kinds, with what a reader has to know of them.

    Attributes:
        kinds: what the values of each sample are, as (type, unit) pairs such as ("cpu", "nanoseconds").
        samples: no two of them have the same stack and labels.
        period_kind: what lies between two samples of a sampled profile; None for a count of everything.
        period: how much of it.
        taken_at: unix seconds.
        duration_s: seconds that it covers; 0 for one moment.
        comments: for the reader: what is missing, what was estimated.
        default: the type that a viewer is to show first; "" for the last one.
    """

    kinds: tuple[tuple[str, str], ...]
    samples: tuple[Sample, ...] = ()
    period_kind: tuple[str, str] | None = None
    period: int = 0
    taken_at: float = 0.0
    duration_s: float = 0.0
    comments: tuple[str, ...] = field(default=())
    default: str = ""

    def total(self, kind: int = -1) -> int:
        """Return the sum of one value over all samples."""
        return sum(sample.values[kind] for sample in self.samples)

    def table(self) -> Table:
        """Return the samples by stack and labels."""
        found: Table = {}
        for stack, values, labels in self.samples:
            add(found, (stack, labels), values)
        return found


def add(table: Table, key: Key, values: Sequence[int]) -> None:
    """Count `values` at a stack and its labels."""
    before = table.get(key)
    table[key] = (
        tuple(values)
        if before is None
        else tuple(one + other for one, other in zip(before, values, strict=True))
    )


def gathered(table: Mapping[Key, tuple[int, ...]]) -> tuple[Sample, ...]:
    """Return a table as samples: the greatest last value first, nothing that came to naught."""
    ranked = sorted(table.items(), key=lambda item: (-abs(item[1][-1]), item[0][0]))
    return tuple(Sample(key[0], values, key[1]) for key, values in ranked if any(values))


def merge(profiles: Iterable[Profile]) -> Profile:
    """Add profiles up, sample by sample.

    Args:
        profiles: at least one; all of the same kinds.

    Returns:
        One that began when the first of them did, and lasted as long as all together.

    Raises:
        UsageError: there is none, or their kinds differ.
    """
    given = list(profiles)
    if not given:
        raise UsageError("there is no profile to merge: name at least one")
    first = given[0]
    table: Table = {}
    for one in given:
        if one.kinds != first.kinds:
            raise UsageError(
                f"profiles of different kinds do not add up: {_kinds(first)} and {_kinds(one)}"
            )
        for stack, values, labels in one.samples:
            add(table, (stack, labels), values)
    starts = [one.taken_at for one in given if one.taken_at]
    return replace(
        first,
        samples=gathered(table),
        taken_at=min(starts, default=0.0),
        duration_s=sum(one.duration_s for one in given),
        comments=tuple(dict.fromkeys(comment for one in given for comment in one.comments)),
    )


def diff(after: Profile, before: Profile) -> Profile:
    """Return what has changed from one profile to a later one; what has shrunk is negative.

    Raises:
        UsageError: their kinds differ.
    """
    taken_away = replace(
        before,
        samples=tuple(
            sample._replace(values=tuple(-value for value in sample.values))
            for sample in before.samples
        ),
    )
    return replace(
        merge([after, taken_away]),
        taken_at=after.taken_at,
        duration_s=max(after.taken_at - before.taken_at, after.duration_s),
    )


def _kinds(profile: Profile) -> str:
    return ", ".join(f"{kind}/{unit}" for kind, unit in profile.kinds) or "none"
