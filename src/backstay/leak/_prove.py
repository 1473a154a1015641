"""`prove()`: which tasks can nothing wake any more.

Around the trial deletion: who is asked, whom a timer will end anyway, and asking once more, since
another thread may have moved a reference just while it was being counted. What is left is said in words.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from backstay._base import now
from backstay.errors import UsageError
from backstay.leak._expected import unexpected
from backstay.leak._holders import name_holders
from backstay.leak._places import in_words, is_ours, relative, site_of
from backstay.leak._proof import Proof, Proved
from backstay.leak._timers import ended_by_timers
from backstay.leak._trial_deletion import HELD, LIVE, awaited_by, judge
from backstay.tasks import TaskInfo, await_chain, blocked_on, info, live_tasks, waits_forever
from backstay.tasks._await_chain import kind_of
from backstay.tasks._tracked_task import card_of

__all__ = ["prove", "unsound_here"]

AnyTask = asyncio.Task[Any]

_get_coro = cast("Callable[[Any], Any]", asyncio.Task.get_coro)  # past what a subclass overrides
_TIMERS = 50_000  # objects looked at on the way from timers to tasks, at most
_ROUNDS = 8
_NAMED = 256  # of those held, for how many a holder is looked for
_EACH_TOLD = 16  # of one site, how many are asked what they wait for


def prove(
    tasks: Iterable[AnyTask] | None = None,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    older_than: float = 0.0,
    per_site: int = 64,
    budget: int = 200_000,
    holders: bool = True,
) -> Proof:
    """Prove of blocked tasks that nothing can wake them any more.

    LEAKED: nothing that lives even refers to the task. STUCK: something does, and could cancel it,
    but nothing that lives can resolve what it waits for. Never accused: tasks that a pending timer
    will end (`timeout`, a scope with a deadline), the main task of the loop, and tasks of Backstay.

    It must be called in the thread of the loop; that is what keeps the tasks still meanwhile.

    Args:
        tasks: whom to ask; None for all of the loop, of which at most `per_site` are asked
            that were started at one line and wait at one. A task that you pass is held by you, so
            STUCK is the worst that can be said of it.
        loop: whose tasks; the running one when omitted.
        older_than: seconds that a task must have lived to be asked; a task whose age is not
            known is asked.
        per_site: how many of a site, the oldest and an even draw of the others; 0 for all.
        budget: objects that are looked into at most; a smaller one finds less and never more.
        holders: whether to find out who holds what is stuck; that takes some milliseconds, and
            only when something is.

    Returns:
        What was proved. `refused` says why nothing could be, on an interpreter where references
        cannot be counted.

    Raises:
        UsageError: called in another thread than that of the running loop, or without any loop.

    Cost: 2 to 4 microseconds an object, about 14 objects a task; nothing of the application runs
        meanwhile.
    """
    loop = _loop_of_this_thread(loop)
    begun = time.thread_time()
    refused = unsound_here()
    if refused:
        return Proof((), 0, 0, 0, 0, 0, 0, 0.0, 0.0, refused)
    collecting = gc.isenabled()
    gc.disable()  # a finalizer that runs amid the count would move references about
    try:
        trial = _Proving(loop, budget)
        trial.choose(tasks, older_than, per_site)
        trial.ask()
        found = time.thread_time()
        proved = trial.in_words(holders)
    finally:
        if collecting:
            gc.enable()
    return Proof(
        proved=proved,
        alive=trial.alive,
        waiting=trial.waiting,
        asked=trial.asked,
        spared=trial.spared,
        unconfirmed=0,
        nodes=trial.nodes,
        cost_s=found - begun,
        told_s=time.thread_time() - found,
        refused="",
    )


def unsound_here() -> str:
    """Say why nothing can be proved on this interpreter; "" where it can."""
    if sys.implementation.name != "cpython":
        return (
            f"a proof counts references, and {sys.implementation.name} keeps no count of them: "
            f"use CPython, or judge by growth and age"
        )
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return (
            "a proof needs other threads to stand still while it counts references, and in this "
            "free-threaded build they do not: use a build with the GIL, or judge by growth and age"
        )
    if sys.version_info >= (3, 14):
        return (
            "since Python 3.14 a frame may refer to a thing without owning a reference, which a "
            "proof would take for a leak: use Python 3.11 to 3.13, or judge by growth and age"
        )
    return ""


def _loop_of_this_thread(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
    running = asyncio._get_running_loop()
    if loop is None:
        if running is None:
            raise UsageError(
                "prove() was called where no event loop runs: call it inside a task or callback, "
                "or pass loop= in the thread that runs the loop"
            )
        return running
    if loop.is_running() and running is not loop:
        raise UsageError(
            "prove() was called in another thread than that of its loop: use "
            "`loop.call_soon_threadsafe(...)`, so that the tasks stand still while they are judged"
        )
    return loop


class _Proving:
    """One proof under way.

    Attributes:
        tasks: those under suspicion; nothing else of ours may refer to them while they are judged.
        verdicts: of these, at the last pass.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: int) -> None:
        self.loop = loop
        self.budget = budget
        self.tasks: list[AnyTask] = []
        self.verdicts = b""
        self.barred: set[int] = set()
        self.alive = self.waiting = self.asked = self.spared = self.nodes = 0

    def choose(self, given: Iterable[AnyTask] | None, older_than: float, per_site: int) -> None:
        """Put those into `tasks` who are to be asked."""
        everybody = live_tasks(self.loop)
        self.alive = len(everybody)
        # Whoever waits on purpose may do anything once it is cancelled, so it counts as alive.
        on_purpose = {id(task) for task in everybody} - {id(task) for task in unexpected(everybody)}
        self.barred = on_purpose | {id(task) for task in everybody if _is_deliberate(task)}
        if given is not None:
            everybody = list(given)
        at = now()
        chosen = [
            task
            for task in everybody
            if id(task) not in self.barred
            and awaited_by(task, self.loop) is not None
            and at - (_born(task) or -1e300) >= older_than
        ]
        self.waiting = len(chosen)
        if given is None and per_site > 0:
            chosen = _sample(chosen, per_site)
        self.asked = len(chosen)
        self.tasks = chosen

    def ask(self) -> None:
        """Leave those in `tasks` who are proved, twice, and whom no timer will end."""
        self._judge()
        for _ in range(_ROUNDS):
            if not self.tasks:
                return
            ended, complete = ended_by_timers(self.tasks, self.loop, _TIMERS)
            if not complete:  # nobody knows whom the other timers will end
                self.spared += len(self.tasks)
                self.tasks.clear()
                return
            self.spared += len(ended)
            self.barred |= ended
            self.tasks[:] = [task for task in self.tasks if id(task) not in ended]
            # Once more, also when no timer ends any: a thread may have moved a reference about.
            self._judge()
            if not ended:
                return
        self.tasks.clear()

    def _judge(self) -> None:
        self.verdicts, nodes = judge(self.tasks, self.loop, self.barred, self.budget)
        self.nodes += nodes
        dead = [place for place, verdict in enumerate(self.verdicts) if verdict != LIVE]
        self.tasks[:] = [self.tasks[place] for place in dead]
        self.verdicts = bytes(self.verdicts[place] for place in dead)

    def in_words(self, holders: bool) -> tuple[Proved, ...]:
        """Describe who is left, oldest first."""
        accused = [
            (task, verdict)
            for task, verdict in zip(self.tasks, self.verdicts, strict=True)
            if not _is_ours(task)
        ]
        accused.sort(key=lambda one: _born(one[0]) or 0.0)
        held = [task for task, verdict in accused if verdict == HELD][:_NAMED]
        names = name_holders(held, self.loop) if holders and held else {}
        # A thousand tasks of one site say the same thing; a few are asked, the others say it after them.
        told: dict[object, list[Proved]] = {}
        words: list[Proved] = []
        for task, verdict in accused:
            same = told.setdefault((_site_key(task), verdict), [])
            if len(same) < _EACH_TOLD:
                same.append(_in_words(task, verdict, names))
                words.append(same[-1])
            else:
                words.append(_said_after(same[0], task, names))
        self.tasks.clear()
        return tuple(words)


# -- who is asked --------------------------------------------------------------


def _born(task: AnyTask) -> float | None:
    card = card_of(task)
    return None if card is None else card[3]


def _is_deliberate(task: AnyTask) -> bool:
    """Tell whether it waits on purpose: said so, or the main task, which its runner will end."""
    if waits_forever(task):
        return True
    callbacks: list[Any] = getattr(task, "_callbacks", None) or []
    return any("run_until_complete" in getattr(one, "__qualname__", "") for one, _ in callbacks)


def _is_ours(task: AnyTask) -> bool:
    return is_ours(site_of(info(task)))


def _sample(tasks: list[AnyTask], per_site: int) -> list[AnyTask]:
    """Take of each site the oldest half, and an even draw of the others."""
    sites: dict[object, list[int]] = {}
    for place, task in enumerate(tasks):
        sites.setdefault(_site_key(task), []).append(place)
    chosen: list[int] = []
    for places in sites.values():
        if len(places) <= per_site:
            chosen += places
            continue
        places.sort(key=lambda place: _born(tasks[place]) or 0.0)
        oldest = (per_site + 1) // 2
        rest, drawn = places[oldest:], per_site - oldest
        chosen += places[:oldest]
        chosen += [rest[(2 * k + 1) * len(rest) // (2 * drawn)] for k in range(drawn)]
    return [tasks[place] for place in sorted(chosen)]


def _site_key(task: AnyTask) -> object:
    """Tell spawn site and await site, as numbers: of the code objects, which live as long."""
    card = card_of(task)
    spawned = (0, 0) if card is None else (id(card[0]), card[1])
    here: Any = _get_coro(task)
    for _ in range(32):
        below = getattr(here, "cr_await", None)
        if getattr(below, "cr_code", None) is None:
            break
        here = below
    return *spawned, id(getattr(here, "cr_code", None) or kind_of(here))


# -- in words --------------------------------------------------------------------


def _in_words(task: AnyTask, verdict: int, names: dict[int, str]) -> Proved:
    card = info(task)
    wait = blocked_on(task)
    return Proved(
        verdict="STUCK" if verdict == HELD else "LEAKED",
        task_id=id(task),
        task_name=_name_of(card),
        site=relative(site_of(card)),
        function=card.coroutine if card.site is None else card.site.function,
        owner=in_words(card.owner),
        born=card.born,
        age=card.age,
        blocked_on="" if wait is None else f"{wait.label} at {relative(wait.site)}",
        wait_kind="" if wait is None else wait.kind,
        await_site="" if wait is None else relative(wait.site),
        held_by=names.get(id(task)),
        trace_ids=(card.trace_id,) if card.trace_id else (),
        chain=tuple(str(frame) for frame in await_chain(task)),
    )


def _said_after(first: Proved, task: AnyTask, names: dict[int, str]) -> Proved:
    """Describe a task by the words for another of its kind."""
    card = info(task)
    return replace(
        first,
        task_id=id(task),
        task_name=_name_of(card),
        owner=in_words(card.owner),
        born=card.born,
        age=card.age,
        held_by=names.get(id(task), first.held_by),
        trace_ids=(card.trace_id,) if card.trace_id else (),
    )


def _name_of(card: TaskInfo) -> str:
    unnamed = card.name.startswith("Task-") or card.name == "None"
    return card.coroutine if unnamed else card.name
