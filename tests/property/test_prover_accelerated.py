"""The prover in C comes to the very judgement that the one in Python comes to."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from test_prover_model import ROOTS, build, destroy, random_model

from backstay._base import accelerated, roster_callbacks
from backstay.leak._trial_deletion import (
    HELD,
    LIVE,
    UNHELD,
    Judgement,
    _namespaces,
    _registry_of_generators,
    _Trial,
)

pytestmark = [
    pytest.mark.skipif(accelerated() is None, reason="the extension is not there, or off"),
    pytest.mark.real_loop,
]

GRAPHS = 10_000 if os.environ.get("BACKSTAY_SCHEDULES") == "full" else 1_000

Loop = asyncio.AbstractEventLoop


def in_python(
    tasks: list[Any], loop: Loop, barred: frozenset[int] = frozenset(), budget: int = 200_000
) -> Judgement:
    return _Trial(tasks, loop, barred).run(budget)


def in_c(
    tasks: list[Any], loop: Loop, barred: frozenset[int] = frozenset(), budget: int = 200_000
) -> Judgement:
    accelerator = accelerated()
    assert accelerator is not None
    registry = _registry_of_generators(loop)
    rosters = roster_callbacks()
    return Judgement(
        *accelerator.judge(tasks, loop, barred, budget, _namespaces(), registry, rosters)
    )


async def waiting(future: asyncio.Future[None], *kept: object) -> None:
    await future
    del kept


async def test_both_judge_random_graphs_alike() -> None:
    """Verdicts and counts agree, for everybody and for samples, with any budget and who is barred."""
    loop = asyncio.get_running_loop()
    seen = {LIVE: 0, HELD: 0, UNHELD: 0}
    gc.disable()
    try:
        for seed in range(GRAPHS):
            dice = random.Random(seed)
            tasks = await build(random_model(dice), dice)
            if dice.random() < 0.5:
                tasks[:] = dice.sample(tasks, dice.randint(0, len(tasks)))
            barred = frozenset(id(task) for task in tasks if dice.random() < 0.1)
            budget = dice.choice([0, 1, 5, 20, 60, 200, 100_000, 100_000])
            expected = in_python(tasks, loop, barred, budget)
            assert in_c(tasks, loop, barred, budget) == expected, f"seed {seed}"
            for verdict in expected.verdicts:
                seen[verdict] += 1
            tasks.clear()
            ROOTS.clear()
            await destroy(list(asyncio.all_tasks() - {asyncio.current_task()}))
            if seed % 200 == 0:
                gc.collect()
    finally:
        gc.enable()
    assert min(seen.values()) > GRAPHS / 8, "the graphs are too much alike"


async def generating(future: asyncio.Future[None]) -> AsyncIterator[int]:
    yield 1
    await future


async def iterating(future: asyncio.Future[None]) -> None:
    async for _ in generating(future):
        pass


class Odd:
    """Refers to whatever it is told to."""

    def __init__(self, *kept: object) -> None:
        self.kept = kept


def ready(loop: Loop) -> asyncio.Task[None]:
    return loop.create_task(waiting(loop.create_future()))


def odd_tasks(loop: Loop) -> list[asyncio.Task[None]]:
    """Start tasks whose graphs hold what random graphs of things do not."""
    future = loop.create_future
    bag: list[Any] = []
    finished: Any = future()
    behind_finished = future()
    finished.set_result(Odd(behind_finished))
    loop.call_soon(loop.call_soon, loop.call_soon, lambda: bag.append(ready(loop)))
    weakly, weak_inside = Odd(), Odd()
    weak_inside.kept = (weakref.ref(weak_inside),)
    ROOTS.append(weakref.ref(weakly))
    first, second, third, fourth = future(), future(), future(), future()
    held_by_the_living = waiting(future())
    weakly_held_by_the_living, behind_weak = Odd(), future()
    weakly_held_by_the_living.kept = (behind_weak,)
    weakly.kept = (first, held_by_the_living, weakref.ref(weakly_held_by_the_living))
    weak_inside.kept = (*weak_inside.kept, second)
    globals_of_its_own: dict[str, Any] = {"kept": third}
    exec("def function(): return kept", globals_of_its_own)
    shielded = loop.create_task(waiting(future()))
    coroutine_held = waiting(future())
    ROOTS.append(coroutine_held)
    return [
        loop.create_task(waiting(first, weakly)),
        loop.create_task(waiting(second, weak_inside)),
        loop.create_task(waiting(third, globals_of_its_own["function"])),
        loop.create_task(waiting(fourth, bag, finished, sys, asyncio, Odd, loop, [], {}, 1, "a")),
        loop.create_task(iterating(future())),
        loop.create_task(waiting(future(), generating(future()))),
        loop.create_task(waiting(asyncio.shield(shielded))),
        loop.create_task(waiting(asyncio.gather(shielded, loop.create_task(waiting(future()))))),
        loop.create_task(coroutine_held),
        loop.create_task(held_by_the_living),
        loop.create_task(waiting(behind_finished)),
        loop.create_task(waiting(behind_weak, weakly_held_by_the_living)),
        loop.create_task(asyncio.sleep(3600)),
        loop.create_task(asyncio.wait([shielded])),
        loop.create_task(asyncio.wait_for(future(), 3600)),
        shielded,
    ]


async def test_both_judge_what_random_graphs_do_not_hold_alike() -> None:
    """Weak references, generators, functions, done futures, groups, timers, modules and classes."""
    loop = asyncio.get_running_loop()
    tasks = odd_tasks(loop)
    for _ in range(3):
        await asyncio.sleep(0)  # until all of them wait, but the last one has not begun
    for budget in (*range(0, 150, 7), 200_000):
        assert in_c(tasks, loop, budget=budget) == in_python(tasks, loop, budget=budget), budget
    told = in_c(tasks, loop).verdicts
    assert told[0] == LIVE, "held weakly from outside"
    assert told[1] != LIVE, "held weakly by itself"
    for _ in range(3):
        tasks += tasks[:4]  # asked twice
        assert in_c(tasks, loop) == in_python(tasks, loop)
    running = [ready(loop), *tasks[:2], "no task", None, asyncio.Future(loop=loop)]
    assert in_c(running, loop) == in_python(running, loop)
    other = asyncio.new_event_loop()
    assert in_c(tasks, other) == in_python(tasks, other)
    other.close()
    assert in_c([], loop) == in_python([], loop) == Judgement(b"", 0)
    await destroy(list(asyncio.all_tasks() - {asyncio.current_task()}))


async def test_judging_changes_no_count_of_references() -> None:
    """Whoever was looked at has as many references after a thousand looks as before."""
    gc.collect()  # what other tests have left would go amid the count
    loop = asyncio.get_running_loop()
    tasks = odd_tasks(loop)
    await asyncio.sleep(0)
    things = [
        thing
        for task in tasks
        for thing in (task, *gc.get_referents(task))
        if gc.is_tracked(thing)  # small numbers come and go everywhere
    ]
    gc.disable()
    counts = [sys.getrefcount(thing) for thing in things]
    in_c(tasks, loop)
    blocks = sys.getallocatedblocks()
    for _ in range(1000):
        in_c(tasks, loop)
    assert sys.getallocatedblocks() - blocks < 50
    after = [sys.getrefcount(thing) for thing in things]
    gc.enable()
    assert counts == after
    del things
    await destroy(list(asyncio.all_tasks() - {asyncio.current_task()}))


async def test_arguments_of_another_kind_are_refused() -> None:
    """What would be read as memory is looked at before."""
    accelerator = accelerated()
    assert accelerator is not None
    loop: Any = asyncio.get_running_loop()
    judge: Any = accelerator.judge
    for arguments in (
        ((), loop, (), 10, (), None, ()),
        ([], loop, ("no id",), 10, (), None, ()),
        ([], loop, (), "many", (), None, ()),
        ([], loop, (), 10, 5, None, ()),
        ([], loop, (), 10, (), None, []),
        ([], loop, (), 10),
    ):
        with pytest.raises(TypeError):
            judge(*arguments)
    assert judge([], loop, (), -1, (), None, ()) == (b"", 0)
