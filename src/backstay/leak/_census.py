"""Who is alive, where from, for whom, and waiting for what: one look at a loop.

It may be taken from any thread, also while the loop is blocked, so it must be
cheap and leave no trace: of each site at most 64 tasks are asked what they wait
for (that costs ten times more than everything else), and what is kept are
numbers and words, never a task, frame, future or coroutine; keeping one would
keep alive the very thing that is being diagnosed.

Which 64: the oldest, since in a leak they are the ones that matter and in heavy
traffic a fair sample would miss them; the oldest orphans, overdue and undead
ones; and an even draw through all ages, from which the group counts are estimated.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from types import CodeType
from typing import Any, NamedTuple, cast

from backstay._base import now
from backstay.leak._expected import unexpected
from backstay.leak._places import in_words, is_ours
from backstay.leak._undead import refuses_to_end
from backstay.tasks import Scope, info, live_tasks
from backstay.tasks._blocked_on import blocked_on
from backstay.tasks._spawn_site import resolve_site
from backstay.tasks._tracked_task import card_of

__all__ = [
    "Census",
    "Group",
    "Site",
    "SiteCensus",
    "Witness",
    "births_by_site",
    "breather",
    "take_census",
]

AnyTask = asyncio.Task[Any]

_OLDEST = 16  # of a site's tasks, always asked
_FLAGGED = 8  # of its orphans, again of its overdue ones, and of those that were asked to end
_EVENLY = 24  # spread evenly over all ages
MAX_ASKED = _OLDEST + 3 * _FLAGGED + _EVENLY

# Off the loop's own thread, give way after so many tasks: the application then
# pauses for about a millisecond at a time and not for the 5 ms of a forced switch.
_STRIDE = 512
_BREATH_S = 50e-6
_ASKED_AT_A_TIME = 16  # tasks between two breaths, when asking what they wait for


@dataclass(frozen=True, slots=True)
class Site:
    """Where tasks come from: the line that started them or, if no line did, their coroutine."""

    file: str  # absolute path; "" when even that is unknown
    line: int  # 1-based, 0 when unknown
    function: str  # the function that contains the line
    started_here: bool  # False: the loop itself started them; the line is the coroutine's

    @property
    def ours(self) -> bool:
        """Whether the line is Backstay's own; such tasks are counted and never accused."""
        return is_ours(self.file)

    def __str__(self) -> str:
        """``file:line``; the function alone when there is no line."""
        return f"{self.file}:{self.line}" if self.file else self.function


@dataclass(frozen=True, slots=True)
class Witness:
    """One task that was asked, as plain values."""

    task_name: str
    born: float | None  # seconds on the clock of now()
    age: float | None  # seconds
    owner: str  # "request POST /orders"; "" without one
    owner_kind: str  # "" without one
    owner_state: str  # "" without one
    owner_number: int  # equal for tasks of one owner; 0 without one
    trace_id: str | None
    orphan_for: float | None  # seconds since its owner ended
    overdue_for: float | None  # seconds since its owner's deadline
    undead_for: float | None  # seconds since it was asked to end, when that is beyond the grace
    cancel_by: str | None
    cancel_for: float | None  # seconds since somebody asked it to end
    waits_for: str  # "queue get"; "" when it is not waiting
    wait_kind: str  # one word, see BlockedOn.kind
    wait_detail: str
    await_site: str  # "file:line"


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks of one spawn site that wait at one line for one kind of owner."""

    site: Site
    await_site: str
    waits_for: str
    owner_kind: str
    count: int  # estimated when the site has more tasks than were asked
    age_min: float | None  # of those asked, seconds
    age_median: float | None
    age_max: float | None
    blocked_on: str  # one example, with its numbers
    trace_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SiteCensus:
    """All tasks of one spawn site."""

    site: Site
    alive: int
    orphans: int  # owner ended longer ago than the grace
    overdue: int  # owner's deadline passed longer ago than the grace
    undead: int  # asked to end longer ago than the grace
    age_min: float | None  # seconds, over all its tasks that have an age
    age_median: float | None
    age_max: float | None
    witnesses: tuple[Witness, ...]  # oldest first
    even: tuple[int, ...] = field(repr=False)  # which witnesses speak for all ages

    def groups(self) -> list[Group]:
        """Split by await site and kind of owner, most tasks first."""
        buckets: dict[tuple[str, str, str], list[Witness]] = {}
        for index in self.even:
            witness = self.witnesses[index]
            key = witness.await_site, witness.waits_for, witness.owner_kind
            buckets.setdefault(key, []).append(witness)
        weight = self.alive / len(self.even)
        groups = [self._group(key, who, weight) for key, who in buckets.items()]
        return sorted(groups, key=lambda group: -group.count)

    def _group(self, key: tuple[str, str, str], who: list[Witness], weight: float) -> Group:
        await_site, waits_for, owner_kind = key
        ages = sorted(witness.age for witness in who if witness.age is not None)
        detail = f" ({who[0].wait_detail})" if who[0].wait_detail else ""
        return Group(
            site=self.site,
            await_site=await_site,
            waits_for=waits_for,
            owner_kind=owner_kind,
            count=round(weight * len(who)),
            age_min=ages[0] if ages else None,
            age_median=ages[len(ages) // 2] if ages else None,
            age_max=ages[-1] if ages else None,
            blocked_on=f"{waits_for}{detail}",
            trace_ids=trace_ids(who),
        )


@dataclass(frozen=True, slots=True)
class Census:
    """One look at a loop."""

    taken_at: float  # seconds on the clock of now()
    cost_s: float  # processor time that it took
    tasks: int
    sites: tuple[SiteCensus, ...]  # most tasks first

    def groups(self) -> list[Group]:
        """All groups of all sites, most tasks first."""
        groups = (group for site in self.sites for group in site.groups())
        return sorted(groups, key=lambda group: -group.count)


def births_by_site(loop: asyncio.AbstractEventLoop) -> dict[Site, list[float | None]]:
    """Tell when each living task of `loop` was born, by site: all that the growth rule needs.

    Cost: about a microsecond a task.
    """
    return {pile.site: pile.births for pile in _pile_up(unexpected(live_tasks(loop)))}


def take_census(
    loop: asyncio.AbstractEventLoop,
    *,
    at: float | None = None,
    orphan_grace: float = 5.0,
    overdue_grace: float = 1.0,
    undead_grace: float = 5.0,
) -> Census:
    """Count and question the living tasks of `loop`; callable from any thread.

    Args:
        loop: whose tasks.
        at: the present on the clock of `now()`; now when omitted.
        orphan_grace: seconds that a task may outlive its owner before it counts.
        overdue_grace: seconds that it may outlive its deadline before it counts.
        undead_grace: seconds that it may outlive a cancel before it counts.

    Cost: 2 to 3 microseconds a task, plus 10 to 40 for each of at most 64 a site.
    """
    begun = time.thread_time()
    at = now() if at is None else at
    everybody = live_tasks(loop)
    tasks = unexpected(everybody)
    graces = _Graces(orphan_grace, overdue_grace, undead_grace)
    breathe = breather()
    sites: list[SiteCensus] = []
    for pile in _pile_up(tasks):
        breathe()
        sites.append(_question(pile, tasks, at, graces, breathe))
    sites.sort(key=lambda site: -site.alive)
    return Census(at, time.thread_time() - begun, len(everybody), tuple(sites))


def trace_ids(witnesses: Iterable[Witness], most: int = 5) -> tuple[str, ...]:
    """Up to `most` different trace ids, in the order of the witnesses."""
    seen = dict.fromkeys(witness.trace_id for witness in witnesses if witness.trace_id)
    return tuple(seen)[:most]


# -- first pass: piles -----------------------------------------------------


@dataclass(slots=True)
class _Pile:
    """The tasks of one site, as indices into the list of all tasks."""

    site: Site
    births: list[float | None] = field(default_factory=list[float | None])
    members: list[int] = field(default_factory=list[int])
    owners: list[Scope | None] = field(default_factory=list["Scope | None"])


def _pile_up(tasks: list[AnyTask]) -> list[_Pile]:
    by_code: dict[tuple[int, int], _Pile] = {}  # the id is safe: the task holds the code object
    breathe = breather()
    for index, task in enumerate(tasks):
        if not index % _STRIDE:
            breathe()
        code, lasti, owner, born = card_of(task) or (None, -1, None, None)
        key = (id(code), lasti) if code is not None else (id(_own_code(task)), -2)
        pile = by_code.get(key)
        if pile is None:
            pile = by_code[key] = _Pile(_site_of(task, code, lasti))
        pile.births.append(born)
        pile.members.append(index)
        pile.owners.append(cast("Scope | None", owner))  # the only kind of owner there is
    return list(_merged(by_code.values()))


def _merged(piles: Iterable[_Pile]) -> Iterator[_Pile]:
    """Join piles of one line: two calls on a line, or one function made twice."""
    by_site: dict[Site, _Pile] = {}
    for pile in piles:
        first = by_site.setdefault(pile.site, pile)
        if first is not pile:
            first.births += pile.births
            first.members += pile.members
            first.owners += pile.owners
    yield from by_site.values()


def _own_code(task: AnyTask) -> object:
    coroutine = task.get_coro()
    return getattr(coroutine, "cr_code", None) or type(coroutine)


def _site_of(task: AnyTask, code: CodeType | None, lasti: int) -> Site:
    spawned = resolve_site(code, lasti)
    if spawned is not None:
        return Site(spawned.file, spawned.line, spawned.function, True)
    card = info(task)
    file, _, line = card.definition.rpartition(":")
    return Site(file, int(line) if line.isdigit() else 0, card.coroutine, False)


def breather() -> Callable[[], None]:
    """Return what to call now and then in long work: a short sleep, but not on a loop's own thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return lambda: time.sleep(_BREATH_S)
    return lambda: None  # on the loop's own thread there is nobody to give way to


# -- second pass: questions --------------------------------------------------


class _Graces(NamedTuple):
    """Seconds for which each offence is let off."""

    orphan: float
    overdue: float
    undead: float


class _Flags(NamedTuple):
    """Who of a site stands out, as places in its pile."""

    orphans: set[int]
    overdue: set[int]
    undead: set[int]


def _question(
    pile: _Pile, tasks: list[AnyTask], at: float, graces: _Graces, breathe: Callable[[], None]
) -> SiteCensus:
    order = sorted(
        range(len(pile.members)), key=lambda k: -math.inf if (b := pile.births[k]) is None else b
    )
    flags = _flag(pile, order, tasks, at, graces)
    even = _evenly(order)
    asked = {*order[:_OLDEST], *even}
    for flagged in filter(None, flags):
        asked.update(islice((k for k in order if k in flagged), _FLAGGED))
    asked_in_order = [k for k in order if k in asked]
    place = {k: index for index, k in enumerate(asked_in_order)}
    ages = sorted(max(0.0, at - born) for born in pile.births if born is not None)
    witnesses: list[Witness] = []
    for index, k in enumerate(asked_in_order):
        if not index % _ASKED_AT_A_TIME:
            breathe()
        witnesses.append(_ask(tasks[pile.members[k]], pile.owners[k], at, k, flags))
    return SiteCensus(
        site=pile.site,
        alive=len(order),
        orphans=len(flags.orphans),
        overdue=len(flags.overdue),
        undead=len(flags.undead),
        age_min=ages[0] if ages else None,
        age_median=ages[len(ages) // 2] if ages else None,
        age_max=ages[-1] if ages else None,
        witnesses=tuple(witnesses),
        even=tuple(place[k] for k in even),
    )


def _flag(
    pile: _Pile, order: list[int], tasks: list[AnyTask], at: float, graces: _Graces
) -> _Flags:
    flags = _Flags(set(), set(), set())
    for k in order:
        task = tasks[pile.members[k]]
        if task.cancelling() and refuses_to_end(task, at, graces.undead):
            flags.undead.add(k)
        owner = pile.owners[k]
        if owner is None:
            continue
        ended_at = owner.ended_at
        if owner.state == "ended" and ended_at is not None and at - ended_at > graces.orphan:
            flags.orphans.add(k)
        if owner.deadline is not None and at - owner.deadline > graces.overdue:
            flags.overdue.add(k)
    return flags


def _evenly(order: list[int]) -> list[int]:
    if len(order) <= MAX_ASKED:
        return order
    step = len(order) / _EVENLY
    return [order[int((k + 0.5) * step)] for k in range(_EVENLY)]


def _ask(task: AnyTask, owner: Scope | None, at: float, k: int, flags: _Flags) -> Witness:
    card = info(task)
    orphan, overdue = k in flags.orphans, k in flags.overdue
    wait = blocked_on(task)
    # "None": Python 3.13 names the unnamed so when a task factory is set (set_name(None)).
    default_name = card.name.startswith("Task-") or card.name == "None"
    return Witness(
        task_name=card.coroutine if default_name else card.name,
        born=card.born,
        age=None if card.born is None else max(0.0, at - card.born),
        owner=in_words(owner),
        owner_kind="" if owner is None else owner.kind,
        owner_state="" if owner is None else owner.state,
        owner_number=0 if owner is None else id(owner),
        trace_id=card.trace_id,
        orphan_for=at - owner.ended_at if orphan and owner and owner.ended_at is not None else None,
        overdue_for=at - owner.deadline
        if overdue and owner and owner.deadline is not None
        else None,
        undead_for=at - card.cancel_at
        if k in flags.undead and card.cancel_at is not None
        else None,
        cancel_by=card.cancel_by,
        cancel_for=None if card.cancel_at is None else at - card.cancel_at,
        waits_for="" if wait is None else wait.label,
        wait_kind="" if wait is None else wait.kind,
        wait_detail="" if wait is None else wait.detail,
        await_site="" if wait is None else wait.site,
    )
