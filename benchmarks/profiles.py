"""Promise: a profile of 10,000 tasks costs about what a dump does, and 100 samples a second cost next to nothing.

The task profile, its pprof file included, is held against the lives of as many tasks, measured in the
same run. The CPU profile runs beside a fixed workload of tasks that compute and take turns; the processor
time of the whole process with it is held against the one without, in turn, so that what the
handler, the timer and the thread that looks at other threads cost is all in it.
"""

from __future__ import annotations

import asyncio
import threading
import time

import backstay
from backstay import Scope
from backstay.observe.profile import to_pprof
from backstay.observe.profile._cpu import CpuSampler
from backstay.observe.profile._tasks import profile_of, task_lines
from benchmarks.leaks import against_life, life_of
from benchmarks.rounds import Figure, interleave, low

TASKS = 10_000
ROUNDS = 7
WORKERS, TURNS, STEPS = 20, 500, 400
CPU_ROUNDS = 24


async def _outer(queue: asyncio.Queue[int]) -> None:
    await _middle(queue)


async def _middle(queue: asyncio.Queue[int]) -> None:
    await queue.get()


def _take(spent: list[float], sizes: list[int]) -> None:
    before = time.thread_time()
    sizes.append(len(to_pprof(profile_of(task_lines()))))
    spent.append((time.thread_time() - before) * 1e3)


async def _task_rounds() -> tuple[list[float], list[float], int]:
    backstay.install()
    queue: asyncio.Queue[int] = asyncio.Queue()
    spent: list[float] = []
    sizes: list[int] = []
    lives = [await life_of(TASKS) for _ in range(3)]
    async with Scope("bench", kind="request", trace_id="0" * 32) as scope:
        for _ in range(TASKS):
            scope.go(_outer, queue)
        await asyncio.sleep(0.05)
        for _ in range(ROUNDS):
            thread = threading.Thread(target=_take, args=(spent, sizes))
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.001)
        scope.cancel("measured")
    lives += [await life_of(TASKS) for _ in range(3)]
    return spent, lives, sizes[-1]


async def _work() -> None:
    async def turns() -> None:
        for _ in range(TURNS):
            total = 0
            for step in range(STEPS):
                total += step
            await asyncio.sleep(0)

    async with Scope("work") as scope:
        for _ in range(WORKERS):
            scope.go(turns)


def _cpu_s(runner: asyncio.Runner) -> float:
    before = time.process_time()
    runner.run(_work())
    return time.process_time() - before


def _sampled_cpu_s(runner: asyncio.Runner) -> float:
    sampler, over = CpuSampler(100), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            sampler.look_at_others()

    thread = threading.Thread(target=look)
    sampler.start()
    try:
        thread.start()
        spent = _cpu_s(runner)
    finally:
        over.set()
        thread.join()
        sampler.stop()
    return spent


def measure() -> list[Figure]:
    """Return the cost of a task profile against the tasks' lives, and of CPU samples on a workload."""
    with asyncio.Runner() as runner:
        spent, lives, size = runner.run(_task_rounds())
    with asyncio.Runner() as runner:
        runner.run(_work())
        found = interleave(
            {"bare": lambda: _cpu_s(runner), "sampled": lambda: _sampled_cpu_s(runner)}, CPU_ROUNDS
        )
    bare, sampled = (sorted(found[name])[: CPU_ROUNDS // 2] for name in ("bare", "sampled"))
    return [
        against_life(
            "profiles.tasks", spent, lives, f"{TASKS:,} tasks as a pprof file of {size:,} bytes"
        ),
        Figure(
            "profiles.cpu_100hz",
            sum(sampled) / sum(bare),
            "x",
            f"processor time of a workload of {low(bare) * 1e3:.0f} ms with 100 samples a second",
        ),
    ]
