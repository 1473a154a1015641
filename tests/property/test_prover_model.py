"""The prover against an independent model, on random graphs of who holds what."""

from __future__ import annotations

import asyncio
import gc
import operator
import os
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import uvloop

from backstay import leak
from backstay.leak._trial_deletion import HELD, LIVE, judge

#: The second and third interpreter of a machine draw fewer: what differs there shows at once or not at all.
GRAPHS = int(os.environ.get("BACKSTAY_GRAPHS", "10000"))

# -- the model: sets of numbers, no objects -------------------------------------------------


@dataclass
class Model:
    """Tasks 0..n-1 each wait for one thing; things may be held by roots, tasks and each other."""

    waits: list[int]  # task -> thing, or ~task when it awaits another task
    holds: list[set[int]]  # task -> things in its locals
    knows: list[set[int]]  # task -> other tasks in its locals
    links: list[set[int]]  # thing -> things that it refers to
    roots: set[int]  # things that are held from outside
    handles: set[int]  # tasks that are held from outside
    running: set[int] = field(default_factory=set[int])  # tasks that a timer will wake

    def verdicts(self) -> list[str]:
        """Work out who can be woken, by sweeping until nothing changes."""
        things, tasks = set(self.roots), set(self.running)
        while True:
            before = len(things), len(tasks)
            for task in tasks:
                things |= self.holds[task]
                if self.waits[task] >= 0:
                    things.add(self.waits[task])
            for thing in list(things):
                things |= self.links[thing]
            for task, awaited in enumerate(self.waits):
                if awaited in things or (awaited < 0 and ~awaited in tasks):
                    tasks.add(task)
            if before == (len(things), len(tasks)):
                break
        held = set(self.handles)
        for task in tasks:
            held |= self.knows[task]
            if self.waits[task] < 0:
                held.add(~self.waits[task])
        return [
            "" if task in tasks else "STUCK" if task in held else "LEAKED"
            for task in range(len(self.waits))
        ]


def random_model(dice: random.Random) -> Model:
    """Draw a graph: small, and dense enough that chains and rings are common."""
    tasks, things = dice.randint(1, 9), dice.randint(1, 9)

    def some(of: int, most: int) -> set[int]:
        return {dice.randrange(of) for _ in range(dice.randint(0, most))}

    waits: list[int] = []
    for task in range(tasks):
        awaits_task = task and dice.random() < 0.25
        waits.append(~dice.randrange(task) if awaits_task else dice.randrange(things))
    return Model(
        waits=waits,
        holds=[some(things, 2) for _ in range(tasks)],
        knows=[some(tasks, 1) - {task} for task in range(tasks)],
        links=[some(things, 1) for _ in range(things)],
        roots=some(things, 2) if dice.random() < 0.7 else set(),
        handles=some(tasks, 3),
        running=some(tasks, 1) if dice.random() < 0.5 else set(),
    )


# -- the real thing ---------------------------------------------------------------------------


class Thing:
    """Somebody waits at it; it may refer to others by an attribute, a container or a closure."""

    def __init__(self, dice: random.Random) -> None:
        self.sort = dice.randrange(4)
        self.waiters: deque[asyncio.Future[None]] = deque()
        self.others: list[Any] = []
        self.closure: Any = None

    def refer(self, other: Thing, dice: random.Random) -> None:
        """Hold `other` in one of the ways that there are."""
        way = dice.randrange(6)
        if way == 0:
            self.others.append(other)
        elif way == 1:
            self.others.append({"deep": [(other,)]})
        elif way == 2:
            self.others.append(partial(print, other))
        elif way == 3:
            self.others.append(lambda: other)
        elif way == 4:
            self.others.append(_suspended(other))
        else:
            self.others.append(other.wait)  # a bound method

    async def wait(self) -> None:
        """Wait until somebody wakes it."""
        future = asyncio.get_running_loop().create_future()
        self.waiters.append(future)
        await future


def _suspended(kept: object) -> Any:
    def generator() -> Any:
        mine = kept
        yield
        del mine

    found = generator()
    next(found)
    return found


@dataclass
class Built:
    """What a model has become; the lists are cleared before anybody is judged."""

    tasks: list[asyncio.Task[None]]
    outside: list[Any]  # what the roots are held by


ROOTS: list[Any] = []


async def _body(thing: Thing | None, task: Any, holds: list[Any]) -> None:
    if thing is not None:
        await thing.wait()
    else:
        await task
    del holds


async def _woken(holds: list[Any], thing: Any) -> None:
    await asyncio.sleep(3600)
    del holds, thing


def _outside(thing: Any, dice: random.Random) -> Any:
    """Hold `thing` in a way that the prover cannot see into, or that it must not."""
    way = dice.randrange(4)
    if way == 0:
        return thing
    if way == 1:
        return operator.methodcaller("wait", thing)
    if way == 2:
        return iter([thing])
    return {"a": {"b": (thing,)}}


async def build(model: Model, dice: random.Random) -> list[asyncio.Task[None]]:
    """Make it true; afterwards only `ROOTS` and the list that is returned refer to any of it."""
    things = [Thing(dice) for _ in model.links]
    for thing, others in zip(things, model.links, strict=True):
        for other in others:
            thing.refer(things[other], dice)
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    bags: list[list[Any]] = []
    for task, awaited in enumerate(model.waits):
        bag: list[Any] = [things[held] for held in model.holds[task]]
        bags.append(bag)
        if task in model.running:
            target: Any = things[awaited] if awaited >= 0 else tasks[~awaited]
            coroutine = _woken(bag, target)
        elif awaited >= 0:
            coroutine = _body(things[awaited], None, bag)
        else:
            coroutine = _body(None, tasks[~awaited], bag)
        tasks.append(loop.create_task(coroutine))
    for bag, known in zip(bags, model.knows, strict=True):
        bag.extend(tasks[other] for other in known)
    await asyncio.sleep(0)
    ROOTS.extend(_outside(things[root], dice) for root in model.roots)
    ROOTS.extend(tasks[handle] for handle in model.handles)
    return tasks


async def destroy(tasks: list[asyncio.Task[None]]) -> None:
    """End everything."""
    ROOTS.clear()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _told(verdicts: bytes) -> list[str]:
    return ["" if one == LIVE else "STUCK" if one == HELD else "LEAKED" for one in verdicts]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("loop_factory", "graphs"),
    [(asyncio.new_event_loop, GRAPHS), (uvloop.new_event_loop, GRAPHS // 5)],
)
def test_no_false_accusation_and_no_miss_on_random_graphs(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], graphs: int
) -> None:
    """Every verdict is the model's."""
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            seen = runner.run(_judge_graphs(graphs))
    finally:
        gc.enable()
    assert min(seen.values()) > graphs / 4, "the graphs are too much alike"


async def _judge_graphs(graphs: int) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    seen: dict[str, int] = {"": 0, "STUCK": 0, "LEAKED": 0}
    for seed in range(graphs):
        dice = random.Random(seed)
        model = random_model(dice)
        tasks = await build(model, dice)
        expected = model.verdicts()
        assert _told(judge(tasks, loop).verdicts) == expected, f"seed {seed}: {model}"
        for one in expected:
            seen[one] += 1
        await destroy(tasks)
        if seed % 200 == 0:
            gc.collect()
    return seen


@pytest.mark.real_loop
async def test_a_sample_or_a_small_budget_finds_less_and_never_more() -> None:
    """Whoever was not asked, and whatever was not looked into, counts as alive."""
    loop = asyncio.get_running_loop()
    found = missed = 0
    for seed in range(300):
        dice = random.Random(seed)
        model = random_model(dice)
        tasks = await build(model, dice)
        expected = model.verdicts()
        budget = dice.choice([0, 1, 5, 20, 60, 200, 100_000])
        picked = sorted(dice.sample(range(len(tasks)), dice.randint(0, len(tasks))))
        barred = {id(tasks[place]) for place in picked if dice.random() < 0.2}
        some, ids = [tasks[place] for place in picked], [id(task) for task in tasks]
        del tasks[:]
        for place, told in zip(
            picked, _told(judge(some, loop, barred, budget).verdicts), strict=True
        ):
            allowed = expected[place] and ids[place] not in barred
            assert not told or allowed, f"seed {seed}: {model}"
            found += bool(told)
            missed += bool(expected[place] and not told)
        ROOTS.clear()
        everybody = asyncio.all_tasks() - {asyncio.current_task()}
        await destroy(list(everybody))
    assert found > 50
    assert missed > 50


@pytest.mark.real_loop
@pytest.mark.slow
async def test_threads_that_move_things_about_make_nobody_look_dead() -> None:
    """Whatever is moved is always held by a thread, or by what a thread holds."""
    loop = asyncio.get_running_loop()
    things = [Thing(random.Random(k)) for k in range(60)]
    tasks = [loop.create_task(_body(thing, None, [])) for thing in things for _ in range(2)]
    await asyncio.sleep(0)
    shelves: list[list[Any]] = [[] for _ in range(8)]
    for place, thing in enumerate(things):
        shelves[place % 8].append(thing)
    stop = threading.Event()
    del things, thing

    def move(seed: int, mine: list[list[Any]]) -> None:
        dice = random.Random(seed)
        while not stop.is_set():
            source, target = dice.choice(mine), dice.choice(mine)
            try:
                one = source.pop(dice.randrange(len(source)))
            except (ValueError, IndexError):
                continue
            target.append({"moved": (one,)} if dice.random() < 0.2 else one)
            one = None

    threads = [threading.Thread(target=move, args=(seed, shelves)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(150):
            assert leak.prove(per_site=0, holders=False).proved == ()
            await asyncio.sleep(0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    shelves.clear()
    del threads
    assert leak.prove(per_site=0, holders=False).asked == len(tasks)
    await destroy(tasks)


async def test_a_weak_reference_counts_only_from_outside() -> None:
    """One that is itself out of reach gives nobody a way to the thing."""
    loop = asyncio.get_running_loop()

    class Known(Thing):
        back: Any = None

    known, unknown = Known(random.Random(0)), Known(random.Random(0))
    unknown.back = weakref.ref(unknown)
    outside = weakref.ref(known)
    tasks = [loop.create_task(_body(one, None, [])) for one in (known, unknown)]
    await asyncio.sleep(0)
    del known, unknown
    assert _told(judge(tasks, loop).verdicts) == ["", "LEAKED"]
    assert outside() is not None
    await destroy(tasks)
