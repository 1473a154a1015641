"""LOST: tasks that were collected while pending, as findings.

`tasks` counts them as they go (`lost_tasks`); here they get a verdict and words.
They are dead, so nothing about them can be asked any more, and unlike the other
verdicts this one does not go away: what was lost since tracking began stays lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backstay.leak._census import Census, Site
from backstay.leak._finding import Finding
from backstay.leak._verdicts import place_of
from backstay.tasks import LostTasks

__all__ = ["lost_findings"]


def lost_findings(lost: Iterable[LostTasks], census: Census) -> list[Finding]:
    """Turn losses into findings; Backstay's own lines are left out.

    Args:
        lost: what `tasks.lost_tasks` knows.
        census: who of the same lines is still alive.
    """
    alive = {site.site: site.alive for site in census.sites}
    return [
        _finding(one, site, alive, census.taken_at)
        for one in lost
        if not (site := _site_of(one)).ours
    ]


def _site_of(one: LostTasks) -> Site:
    if one.site is not None:
        return Site(one.site.file, one.site.line, one.site.function, True)
    file, _, line = one.definition.rpartition(":")
    return Site(file, int(line) if line.isdigit() else 0, one.coroutine, False)


def _finding(one: LostTasks, site: Site, alive: Mapping[Site, int], at: float) -> Finding:
    place = place_of(site)
    unnamed = one.task_name.startswith("Task-") or one.task_name == "None"
    name = one.coroutine.rpartition(".")[2] or "fn"
    detail = [
        f"LOST: {one.count} collected while pending, the last {at - one.last_at:.0f} s ago; asyncio "
        f'logged "Task was destroyed but it is pending!"'
    ]
    if one.site is None:
        detail.append(
            "no line of yours started it (a callback of the loop did): shown is where it is defined"
        )
    return Finding(
        verdict="LOST",
        count=one.count,
        alive=alive.get(site, 0),
        task_name=one.coroutine if unnamed else one.task_name,
        site=place,
        function=site.function,
        owner=one.owner,
        age=one.age,
        blocked_on="",
        held_by=None,
        trace_ids=one.trace_ids,
        advice=(
            f"Tasks started at {place} were collected in the middle of their work: the loop holds its tasks "
            f"weakly, and nobody else held these. Let a scope hold them: `scope.go({name}, ...)` inside "
            f"`async with Scope(...) as scope:` keeps them, waits for them and tells their errors. At the "
            f"least, keep the task that `create_task` returns until it is done."
        ),
        impact=float(one.count),
        slope_per_s=None,
        detail=tuple(detail),
    )
