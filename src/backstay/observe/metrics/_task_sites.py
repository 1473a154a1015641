"""Living tasks by the line that started them, as numbers and names.

Nothing is counted when a task is started: what a look finds alive is all that is known. So how many
were *started* is known from below: tasks that a look meets for the first time are counted, and those
that came and went between two looks are not. For a leak that is the right number, since what
leaks is there at the next look.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import CodeType
from typing import Any, cast
from weakref import WeakKeyDictionary

from backstay.leak._census import breather
from backstay.leak._places import is_ours, relative
from backstay.observe.metrics._families import label
from backstay.tasks import Scope, info, live_tasks, lost_tasks
from backstay.tasks._spawn_site import resolve_site
from backstay.tasks._tracked_task import card_of

__all__ = ["OTHER", "SiteFigures", "SiteRows", "TaskSites", "lost_by_site", "site_label"]

#: The row of all sites that have none of their own.
OTHER = "other"

_LIBRARIES = ("/site-packages/", "/dist-packages/")
# What stands before "backstay/" in the paths of our own files.
_HOUSE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__)))) + os.sep

# As in the census: the application then pauses for a millisecond at a time.
_STRIDE = 512


@dataclass(slots=True)
class SiteFigures:
    """What one look has found of one site.

    Attributes:
        alive: tasks.
        older: of these, how many are older than each of some ages.
        oldest: age of the oldest in seconds; 0 when no age is known.
        new: tasks that no look had met before.
        trace_id: of a request that has started one of the newest of them; None when none is known.
    """

    alive: int = 0
    older: list[int] = field(default_factory=list[int])
    oldest: float = 0.0
    new: int = 0
    trace_id: str | None = None

    def add(self, other: SiteFigures) -> None:
        """Count those of another loop, or of another site, here as well."""
        self.alive += other.alive
        self.new += other.new
        self.oldest = max(self.oldest, other.oldest)
        pairs = zip(self.older or [0] * len(other.older), other.older, strict=True)
        self.older = [mine + theirs for mine, theirs in pairs]
        self.trace_id = self.trace_id or other.trace_id


class SiteRows:
    """Which sites have a row of their own: as many as there is room for, and the rest are one.

    A row stays with its site, since a series that comes and goes says nothing; it is given to another only
    when that one has at least twice as many alive, and more than the largest without a row before.
    What a site has counted in its row goes to `OTHER` then, so that no counter ever falls.

    Invariant: at most `most` rows beside `OTHER`, and the sum of all `seen` never falls.
    """

    def __init__(self, most: int) -> None:
        """Have room for `most` sites, at least 1."""
        self._most = most
        self._seen: dict[str, int] = {}
        self._seen_others = 0

    def take(self, found: Mapping[str, SiteFigures]) -> dict[str, tuple[SiteFigures, int]]:
        """Return the rows for a look: the figures, and all tasks that were ever seen of each."""
        self._choose(found)
        rest = SiteFigures()
        for site, figures in found.items():
            if site in self._seen:
                self._seen[site] += figures.new
            else:
                rest.add(figures)
        self._seen_others += rest.new
        rows = {site: (found.get(site, SiteFigures()), seen) for site, seen in self._seen.items()}
        if rest.alive or self._seen_others:
            rows[OTHER] = rest, self._seen_others
        return rows

    def _choose(self, found: Mapping[str, SiteFigures]) -> None:
        def alive(site: str) -> int:
            return found[site].alive if site in found else 0

        waiting = sorted((site for site in found if site not in self._seen), key=alive)
        while waiting and len(self._seen) < self._most:
            self._seen[waiting.pop()] = 0
        held = sorted(self._seen, key=alive, reverse=True)
        while waiting and alive(waiting[-1]) >= 2 * max(1, alive(held[-1])):
            self._seen_others += self._seen.pop(held.pop())
            self._seen[waiting.pop()] = 0
            if not held:
                break


class TaskSites:
    """Looks at the tasks of the tracked loops, and remembers numbers from look to look.

    Cost: about a microsecond a task; keeps no task, frame or owner.
    """

    def __init__(self, most: int, ages: Sequence[float]) -> None:
        """Prepare.

        Args:
            most: sites with a row of their own.
            ages: seconds; tasks older than each are counted.
        """
        self.ages = tuple(ages)
        self._rows = SiteRows(most)
        # Of each loop and site: the newest birth that the last look has seen, and how many had it.
        self._newest: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, tuple[float, int]]] = (
            WeakKeyDictionary()
        )

    def look(
        self, loops: Sequence[asyncio.AbstractEventLoop], at: float
    ) -> dict[str, tuple[SiteFigures, int]]:
        """Return the figures of each site, and the tasks ever seen of it; callable from any thread.

        Args:
            loops: whose tasks.
            at: the present on the clock of `now()`.
        """
        found: dict[str, SiteFigures] = {}
        breathe = breather()
        for loop in loops:
            before, newest = self._newest.get(loop, {}), dict[str, tuple[float, int]]()
            for site, births, trace_id in _piles(loop):
                breathe()
                figures = _figures(births, before.get(site), self.ages, at)
                figures.trace_id = trace_id
                found.setdefault(site, SiteFigures()).add(figures)
                last = max((born for born in births if born is not None), default=None)
                if last is not None:
                    newest[site] = last, births.count(last)
            self._newest[loop] = newest
        return self._rows.take(found)


def _figures(
    births: list[float | None], before: tuple[float, int] | None, ages: Sequence[float], at: float
) -> SiteFigures:
    known = [born for born in births if born is not None]
    last, had = before or (-inf, 0)
    # Births are stamped to a second, so some may be as old as the newest of the last look, and new.
    new = sum(born > last for born in known) + max(0, known.count(last) - had)
    return SiteFigures(
        alive=len(births),
        older=[sum(born < at - age for born in known) for age in ages],
        oldest=max(0.0, at - min(known)) if known else 0.0,
        new=new,
    )


def lost_by_site(
    loops: Sequence[asyncio.AbstractEventLoop],
) -> dict[str, tuple[int, str | None]]:
    """Return how many tasks of each site were collected before they had ended, and a trace of one."""
    found: dict[str, tuple[int, str | None]] = {}
    for loop in loops:
        for lost in lost_tasks(loop):
            site = site_label(str(lost.site) if lost.site is not None else lost.definition)
            many, trace_id = found.get(site, (0, None))
            trace_id = trace_id or next(iter(lost.trace_ids), None)
            found[site] = many + lost.count, trace_id
    return found


@dataclass(slots=True)
class _Pile:
    site: str
    births: list[float | None] = field(default_factory=list[float | None])
    traced: float = -inf  # birth of the newest task with a trace
    trace_id: str | None = None


def _piles(loop: asyncio.AbstractEventLoop) -> list[tuple[str, list[float | None], str | None]]:
    """Return births and a trace id of the tasks of each site."""
    by_code: dict[tuple[int, int], _Pile] = {}  # the id is safe: the task holds the code object
    breathe = breather()
    tasks = live_tasks(loop)
    for index, task in enumerate(tasks):
        if not index % _STRIDE:
            breathe()
        code, lasti, owner, born = card_of(task) or (None, -1, None, None)
        own = code or getattr(task.get_coro(), "cr_code", None) or type(task.get_coro())
        pile = by_code.get((id(own), lasti))
        if pile is None:
            pile = by_code[id(own), lasti] = _Pile(_site(task, code, lasti))
        pile.births.append(born)
        if owner is not None and born is not None and born > pile.traced:
            trace_id = cast("Scope", owner).trace_id  # the only kind of owner there is
            if trace_id is not None:
                pile.traced, pile.trace_id = born, trace_id
    merged: dict[str, _Pile] = {}
    for pile in by_code.values():
        first = merged.setdefault(pile.site, pile)
        if first is not pile:
            first.births += pile.births
            if pile.traced > first.traced:
                first.traced, first.trace_id = pile.traced, pile.trace_id
    return [(pile.site, pile.births, pile.trace_id) for pile in merged.values()]


def _site(task: asyncio.Task[Any], code: CodeType | None, lasti: int) -> str:
    """Name the line that started a task; where its coroutine is defined, if no line did."""
    spawned = resolve_site(code, lasti)
    if spawned is not None:
        return site_label(str(spawned))
    card = info(task)
    return site_label(card.definition) if card.definition else label(card.coroutine)


def site_label(place: str) -> str:
    """Name a "path:line" so that it is the same on every host where the program is installed.

    Relative to the working directory; of a library from its package on.
    """
    if is_ours(place):
        return label(place[len(_HOUSE) :])
    for library in _LIBRARIES:
        _, found, inside = place.rpartition(library)
        if found:
            return label(inside)
    return label(relative(place))
