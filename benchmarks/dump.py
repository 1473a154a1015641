"""Promise: a dump of 10,000 tasks costs a fraction of what its tasks do, and holds nobody up.

The tasks are a mix of short chains: a queue three calls deep, a sleep, and an
event inside a `wait_for`. The dump is taken from another thread, as the admin
plane does, while the loop measures how late each of its turns is, and how late any thread makes it.
"""

from __future__ import annotations

import asyncio

import backstay
from backstay import Scope
from backstay.observe import dump
from benchmarks.leaks import against_life, against_thread, compute, life_of, longest_pause
from benchmarks.rounds import Figure, low

TASKS = 10_000
MANY = 100_000
ROUNDS = 7


async def _pull(jobs: asyncio.Queue[int]) -> None:
    await _next(jobs)


async def _next(jobs: asyncio.Queue[int]) -> int:
    return await jobs.get()


async def _nap() -> None:
    await asyncio.sleep(1_000)


async def _signal(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 1_000)


async def _rounds(count: int, rounds: int) -> tuple[list[float], list[float], list[float]]:
    backstay.install()
    jobs: asyncio.Queue[int] = asyncio.Queue()
    event = asyncio.Event()
    spent: list[float] = []
    async with Scope("bench", kind="request", trace_id="0" * 32) as scope:
        # On Python 3.11 each wait_for is a task of its own, so this third of them counts twice.
        for number in range(count // 4 * 3 if _wait_for_is_a_task() else count):
            fn, args = ((_pull, (jobs,)), (_nap, ()), (_signal, (event,)))[number % 3]
            scope.go(fn, *args)
        await asyncio.sleep(0.05)
        pauses: list[float] = []
        others: list[float] = []
        for _ in range(rounds):
            others.append(await longest_pause(compute, []))
            pauses.append(await longest_pause(lambda: dump.snapshot(stacks=True), spent))
        scope.cancel("measured")
    return spent, pauses, others


async def _lives() -> list[float]:
    return [await life_of(TASKS) for _ in range(3)]


def _wait_for_is_a_task() -> bool:
    return not hasattr(asyncio, "eager_task_factory")  # both changed with 3.12


def measure() -> list[Figure]:
    """Return the CPU time of one dump against that of the tasks, and the longest pause of the application."""
    lives = asyncio.run(_lives())
    spent, pauses, others = asyncio.run(_rounds(TASKS, ROUNDS))
    many, _, _ = asyncio.run(_rounds(MANY, 3))
    lives += asyncio.run(_lives())
    return [
        against_life("dump.cpu", spent, lives, f"{TASKS:,} tasks, with stacks"),
        Figure(
            "dump.first",
            spent[0],
            "ms",
            "the first of a process, which loads the rules of all libraries",
        ),
        Figure("dump.many", low(many), "ms", f"{MANY:,} tasks, with stacks; shown"),
        Figure(
            "dump.longest",
            max(pauses),
            "ms",
            "the longest pause of all rounds, the first dump included",
        ),
        against_thread("dump.pause", pauses, others),
    ]
