"""What `backstay top` asks for each second: figures that only grow, so that whoever asks takes differences."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from backstay._base import now
from backstay.multiloop import running_multiloops
from backstay.observe.metrics._families import label
from backstay.observe.metrics._process import started_at
from backstay.observe.metrics._task_sites import SiteFigures, TaskSites, site_label
from backstay.observe.readings import Pulses, loop_kind, loop_name
from backstay.observe.recorder import Recorder, current_recorder
from backstay.observe.ui._now import Present
from backstay.observe.ui._survey import Family, Survey
from backstay.observe.ui._task_pages import living, row_of, stack_of
from backstay.tasks import TaskInfo, blocked_on, info, installed_loops, live_tasks

__all__ = ["Top"]

#: Spawn sites with a row; all others are one.
_MOST_SITES: Final = 200
#: Loops and multiloops with a row.
_MOST_LOOPS: Final = 32
#: Seconds that a count is good for, however many ask.
_FRESH_S: Final = 0.1
#: Families and members told of one site.
_MOST_FAMILIES: Final = 20
_MOST_MEMBERS: Final = 20
#: Of the members of a family, how many are looked for: most of them may have ended meanwhile.
_MOST_LOOKED_AT: Final = 200
#: What `backstay run` serves, MODULE:APP.
_APPLICATION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(slots=True)
class _Site:
    """What the families of one spawn site say together."""

    function: str = ""
    states: Counter[str] = field(default_factory=Counter[str])
    waits: Counter[str] = field(default_factory=Counter[str])
    owners: Counter[str] = field(default_factory=Counter[str])
    coroutines: Counter[str] = field(default_factory=Counter[str])

    def add(self, family: Family) -> None:
        self.function = self.function or family.function
        self.coroutines[family.coroutine] += family.count
        self.states[family.state] += family.count
        self.waits[_shortened(family.blocked_on, family.await_site)] += family.count
        owner = " ".join(part for part in (family.kind, *family.owner_path[-1:]) if part)
        self.owners[owner] += family.count


class Top:
    """Counts the tasks of each spawn site, and says how the loops and the process are doing.

    Cost: a microsecond a task for each question, and waits up to 50 ms for the loops; what tasks wait
    for comes from the look that the pages share.
    """

    def __init__(self, present: Present) -> None:
        """Have counted nothing yet.

        Args:
            present: tells memory, descriptors and collections.
        """
        self._present = present
        self._pulses = Pulses()
        self._sites = TaskSites(_MOST_SITES, ())
        self._counting = threading.Lock()
        self._counted: dict[str, tuple[SiteFigures, int]] = {}
        self._counted_at = float("-inf")

    def document(self, survey: Survey, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what ``/v1/top`` answers; None when a site is asked for that has no task.

        Args:
            survey: what the tasks wait for.
            query: ``site`` for one of them with its tasks, and nothing else.
        """
        if query.get("site"):
            return self._one_site(survey, query["site"])
        counted, at = self._count()
        groups = _groups(counted, survey)
        present = self._present.document(survey)
        for left_out in ("owners", "owners_left_out", "tasks_age_s", "tasks_cost_s"):
            del present[left_out]
        blocked = present["blocked"]
        if (
            blocked is not None
        ):  # as all lines are named: the number at its end has to fit on a screen
            blocked["site"] = site_label(blocked["site"])
        return {
            **present,
            "at_s": round(at, 3),
            "program": label(_program()),
            "python": ".".join(map(str, sys.version_info[:3])),
            "started_at": started_at(os.getpid()),
            "cpu_s": round(time.process_time(), 3),
            "threads": threading.active_count(),
            "tasks": sum(figures.alive for figures, _ in counted.values()),
            "seen": sum(seen for _, seen in counted.values()),
            "looked_s": round(now() - survey.at, 3),
            "loops": self._loops(),
            "loops_left_out": max(0, len(installed_loops()) - _MOST_LOOPS),
            "multiloops": [
                asdict(pool.statistics()) for pool in running_multiloops()[:_MOST_LOOPS]
            ],
            "groups": groups,
        }

    def _count(self) -> tuple[dict[str, tuple[SiteFigures, int]], float]:
        with self._counting:
            if now() - self._counted_at >= _FRESH_S:
                self._counted_at = now()
                self._counted = self._sites.look(installed_loops(), self._counted_at)
            return self._counted, self._counted_at

    def _loops(self) -> list[dict[str, Any]]:
        recorder = current_recorder()
        steps = {} if recorder is None else _steps_of(recorder)
        lags = {id(loop): lag for loop, lag in self._pulses.lags()}
        return [
            {
                "name": loop_name(loop),
                "kind": loop_kind(loop),
                "running": loop.is_running(),
                "tasks": len(live_tasks(loop)),
                "lag_s": lags.get(id(loop)),
                "steps": steps.get(id(loop)),
            }
            for loop in installed_loops()[:_MOST_LOOPS]
        ]

    def _one_site(self, survey: Survey, site: str) -> dict[str, Any] | None:
        families = [one for one in survey.families if site_label(one.site) == site]
        if not families:
            return None
        members = _members(families, site)
        return {
            "site": site,
            "looked_s": round(now() - survey.at, 3),
            "families": [_family(one) for one in families[:_MOST_FAMILIES]],
            "families_left_out": max(0, len(families) - _MOST_FAMILIES),
            "members": [_member(task) for task in members],
            "stack": [_step(one) for one in stack_of(members[0])] if members else [],
        }


def _members(families: Sequence[Family], site: str) -> list[asyncio.Task[Any]]:
    """Return some tasks of a site that are alive still; of its largest family, the oldest first."""
    found: list[asyncio.Task[Any]] = []
    for family in families:
        # The address of one that has ended may be another's by now, from another line.
        wanted = list(family.ids[:_MOST_LOOKED_AT])
        known = [(info(task), task) for task in living(wanted).values()]
        mine = [(card.age or 0.0, task) for card, task in known if _site_of(card) == site]
        mine.sort(key=lambda one: -one[0])
        found += [task for _, task in mine[: _MOST_MEMBERS - len(found)]]
        if len(found) >= _MOST_MEMBERS:
            break
    return found


def _family(family: Family) -> dict[str, Any]:
    return {
        **family.to_json(),
        "blocked_on": _shortened(family.blocked_on, family.await_site),
    }


def _member(task: asyncio.Task[Any]) -> dict[str, Any]:
    what = blocked_on(task)
    shown = None if what is None else _shortened(str(what), what.site)
    return {**row_of(task), "blocked_on": shown}


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    return {**step, "place": site_label(f"{step['file']}:{step['line']}")}


def _shortened(waits: str, place: str) -> str:
    """Name the line at the end of what is waited for as sites are named."""
    if not place or not waits.endswith(place):
        return waits
    return f"{waits.removesuffix(place)}{site_label(place)}"


def _site_of(card: TaskInfo) -> str:
    return site_label(str(card.site) if card.site is not None else card.definition)


def _groups(counted: Mapping[str, tuple[SiteFigures, int]], survey: Survey) -> list[dict[str, Any]]:
    known: dict[str, _Site] = {}
    for family in survey.families:
        known.setdefault(site_label(family.site), _Site()).add(family)
    return [
        {
            "site": site,
            "alive": figures.alive,
            "seen": seen,
            "oldest_s": round(figures.oldest, 3),
            **_told(known.get(site) or _Site()),
        }
        for site, (figures, seen) in sorted(counted.items(), key=lambda item: -item[1][0].alive)
    ]


def _told(site: _Site) -> dict[str, Any]:
    ((waits, waiting),) = site.waits.most_common(1) or [("", 0)]
    ((owner, owned),) = site.owners.most_common(1) or [("", 0)]
    return {
        "function": site.function,
        "coroutine": next((one for one, _ in site.coroutines.most_common(1)), ""),
        "states": dict(site.states),
        "blocked_on": waits,
        "blocked_share": _share(waiting, site.waits),
        "owner": owner,
        "owner_share": _share(owned, site.owners),
        "owners": len(site.owners),
    }


def _share(part: int, whole: Counter[str]) -> float:
    return round(part / max(1, whole.total()), 3)


def _steps_of(recorder: Recorder) -> dict[int, dict[str, Any]]:
    """Return what was counted on each loop, by its address."""
    return {
        id(loop): {
            "count": said.steps,
            "ready": said.ready,
            "step": said.step,
            "ready_s": said.ready_s,
            "step_s": said.step_s,
        }
        for loop, said in recorder.statistics_by_loop()
    }


def _program() -> str:
    """Name what runs, without its arguments: they may hold secrets."""
    words = [os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"]
    if words[0] in ("backstay", "__main__.py"):
        words[0] = "backstay"
        words += [word for word in sys.argv[1:] if _APPLICATION.fullmatch(word)][:1]
    return " ".join(words)
