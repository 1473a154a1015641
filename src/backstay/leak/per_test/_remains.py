"""Who of a test is still alive on a loop, after everybody had the chance to end.

Whoever has nothing left alive pays for one look. Otherwise: what is proved needs no patience, it will never
end. All others get it as goleak gives it, in steps that double from a microsecond to 0.1 s, in which the loop
runs on: a task that was just ending, or an `aclose()` that the collector had scheduled, is gone by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextvars import Context
from typing import Any

from backstay.leak._expected import unexpected
from backstay.leak._proof import Proved
from backstay.leak._prove import prove
from backstay.leak.per_test._checked import Checked, owner_in
from backstay.leak.per_test._left import Left
from backstay.leak.per_test._words import describe, is_machinery
from backstay.tasks import live_tasks

__all__ = ["patience", "remains", "remains_inside", "tasks_of"]

Loop = asyncio.AbstractEventLoop

_FIRST_S = 1e-6  # as goleak: 20 tries, doubling, at most 0.1 s each, 0.43 s in all
_LONGEST_S = 0.1
_TRIES = 20


def patience() -> Iterator[float]:
    """Yield the seconds to wait before each further look."""
    for attempt in range(_TRIES):
        yield min(_FIRST_S * 2**attempt, _LONGEST_S)


def tasks_of(test: Checked, loop: Loop) -> list[asyncio.Task[Any]]:
    """Return the living tasks of `test` on `loop`; to be let go of before anything is proved.

    Cost: a microsecond a living task, on loops that were there before only of the test's own.
    """
    if loop in test.loops and not loop.is_running():
        mine = [task for task in live_tasks(loop) if owner_in(task, test) is test]
    else:
        mine = test.alive_on(loop)
    if not mine:
        return mine
    running = _running_task(loop)
    return [one for one in unexpected(mine) if one is not running and not is_machinery(one)]


def remains(test: Checked, loop: Loop) -> list[Left]:
    """Judge a loop that does not run in this thread; it runs while there is something to wait for."""
    found: list[Left] = []
    for delay in _looks(test, loop, found):
        _let_run(loop, delay)
    return found


async def remains_inside(test: Checked, loop: Loop) -> list[Left]:
    """Judge the loop that runs, from a task of it, which is not judged.

    Cancelled: nothing is found.
    """
    found: list[Left] = []
    for delay in _looks(test, loop, found):
        await asyncio.sleep(delay)
    return found


def _looks(test: Checked, loop: Loop, found: list[Left]) -> Iterator[float]:
    """Yield for how long the loop is to run on before the next look; at the end, fill `found`."""
    ids = _ids(test, loop)
    proved = proved_on(loop) if ids else {}
    waited = False
    for delay in patience():
        if ids <= proved.keys() or loop.is_closed():
            break
        yield delay
        waited = True
        ids = _ids(test, loop)
    if ids:
        proved = proved_on(loop) if waited else proved
        found += [describe(task, test, proved.get(id(task))) for task in tasks_of(test, loop)]


def proved_on(loop: Loop) -> dict[int, Proved]:
    """Return what is proved of the tasks of `loop`, by id; nothing where it cannot be asked."""
    if loop.is_closed() or (loop.is_running() and asyncio._get_running_loop() is not loop):
        return {}
    return {one.task_id: one for one in prove(loop=loop, per_site=0).proved}


def _ids(test: Checked, loop: Loop) -> set[int]:
    return {id(task) for task in tasks_of(test, loop)}


def _running_task(loop: Loop) -> asyncio.Task[Any] | None:
    return asyncio.current_task(loop) if asyncio._get_running_loop() is loop else None


def _let_run(loop: Loop, seconds: float) -> None:
    """Let a loop run on, without a task of ours on it; one that runs elsewhere does so anyway."""
    if loop.is_closed() or loop.is_running() or asyncio._get_running_loop() is not None:
        time.sleep(seconds)
        return
    # An empty context: what is started by whatever runs meanwhile is nobody's of ours.
    bell = loop.call_later(seconds, loop.stop, context=Context())
    try:
        loop.run_forever()
    finally:
        bell.cancel()
