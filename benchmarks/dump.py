"""Promise: a dump of 10,000 tasks takes at most 500 ms, and holds the application up 10 ms at a time.

The tasks are a mix of short chains: a queue three calls deep, a sleep, and an
event inside a `wait_for`. The dump is taken from another thread, as the admin
plane does, while the loop measures how late each of its turns is.
"""

from __future__ import annotations

import asyncio
import threading
import time

import backstay
from backstay import Scope
from backstay.observe import dump
from benchmarks.rounds import Figure, low

TASKS = 10_000
ROUNDS = 7


async def _pull(jobs: asyncio.Queue[int]) -> None:
    await _next(jobs)


async def _next(jobs: asyncio.Queue[int]) -> int:
    return await jobs.get()


async def _nap() -> None:
    await asyncio.sleep(1_000)


async def _signal(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 1_000)


def _take(spent: list[float]) -> None:
    started = time.thread_time()
    dump.snapshot(stacks=True)
    spent.append((time.thread_time() - started) * 1e3)


async def _longest_pause(spent: list[float]) -> float:
    thread = threading.Thread(target=_take, args=(spent,))
    thread.start()
    longest = 0.0
    before = time.perf_counter()
    while thread.is_alive():
        await asyncio.sleep(0)
        after = time.perf_counter()
        longest = max(longest, after - before)
        before = after
    thread.join()
    return longest * 1e3


async def _rounds() -> tuple[list[float], list[float]]:
    backstay.install()
    jobs: asyncio.Queue[int] = asyncio.Queue()
    event = asyncio.Event()
    spent: list[float] = []
    async with Scope("bench", kind="request", trace_id="0" * 32) as scope:
        # On Python 3.11 each wait_for is a task of its own, so this third of them counts twice.
        for number in range(TASKS // 4 * 3 if _wait_for_is_a_task() else TASKS):
            fn, args = ((_pull, (jobs,)), (_nap, ()), (_signal, (event,)))[number % 3]
            scope.go(fn, *args)
        await asyncio.sleep(0.05)
        pauses = [await _longest_pause(spent) for _ in range(ROUNDS)]
        scope.cancel("measured")
    return spent, pauses


def _wait_for_is_a_task() -> bool:
    return not hasattr(asyncio, "eager_task_factory")  # both changed with 3.12


def measure() -> list[Figure]:
    """Return the CPU time of one dump, and the longest pause of the application."""
    spent, pauses = asyncio.run(_rounds())
    return [
        Figure("dump.cpu", low(spent), "ms", f"{TASKS} tasks, with stacks"),
        Figure("dump.pause", low(pauses), "ms", "longest turn of the loop meanwhile"),
    ]
