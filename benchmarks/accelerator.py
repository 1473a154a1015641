"""Promise: with the C extension a tracked task stays below 1.25x a bare one, and 10,000 are proved in 100 ms.

Pure Python stands beside it in the same rounds, since that is what it is for. Where the extension
was not built there is nothing to measure.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import uvloop

import backstay
from backstay._base import accelerated
from backstay.leak._trial_deletion import judge
from benchmarks.leaks import against_life, proof_rounds
from benchmarks.rounds import Figure, low
from benchmarks.spawn import BURST, ROUNDS, bare, extension, tracking_factory

JUDGED = 10_000


async def _spawn_rounds() -> dict[str, float]:
    """Return nanoseconds a task: bare, stamped in Python, stamped in C."""
    loop = asyncio.get_running_loop()
    factories: dict[str, Any] = {"bare": None}
    for name, pure in (("pure", True), ("accelerated", False)):
        factories[name] = tracking_factory(loop, pure=pure)
        backstay.uninstall(loop)
    samples: dict[str, list[float]] = {name: [] for name in factories}
    gc.disable()
    for _ in range(ROUNDS):
        for name, factory in factories.items():
            loop.set_task_factory(factory)
            before = time.perf_counter_ns()
            await bare()
            samples[name].append((time.perf_counter_ns() - before) / BURST)
        gc.collect(0)
    gc.enable()
    loop.set_task_factory(None)
    return {name: low(values) for name, values in samples.items()}


async def _outer(queue: asyncio.Queue[None]) -> None:
    await _middle(queue)


async def _middle(queue: asyncio.Queue[None]) -> None:
    await queue.get()


async def _judge_rounds() -> dict[str, float]:
    """Return milliseconds of CPU to judge tasks three coroutines deep: in Python, and in C."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_outer(asyncio.Queue())) for _ in range(JUDGED)]
    await asyncio.sleep(0)
    samples: dict[str, list[float]] = {"pure": [], "accelerated": []}
    for _ in range(8):
        for name, found in samples.items():
            gc.collect()
            gc.disable()
            with extension(wanted=name == "accelerated"):
                before = time.thread_time()
                judge(tasks, loop)
                found.append((time.thread_time() - before) * 1000)
            gc.enable()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {name: min(found) for name, found in samples.items()}


def _judging() -> list[Figure]:
    with asyncio.Runner() as runner:
        costs = runner.run(_judge_rounds())
        few = runner.run(proof_rounds(64, 30, pure=False))
        many = runner.run(proof_rounds(JUDGED, 6, pure=False))
    return [
        against_life("accelerator.proof_64", *few, "64 stuck tasks, proved twice"),
        against_life("accelerator.proof_10k", *many, f"{JUDGED:,} stuck tasks, the same"),
        Figure("accelerator.judge", costs["accelerated"], "ms", f"{JUDGED} blocked tasks", costs),
        Figure("accelerator.judge.of_pure", costs["accelerated"] / costs["pure"], "x"),
    ]


def measure() -> list[Figure]:
    """Return the ratios on both loops, and the cost of a judgement; none without the extension."""
    if accelerated() is None:
        return []
    figures = _judging()
    for label, new_loop in (("stock", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            costs = runner.run(_spawn_rounds())
        ratios = {name: cost / costs["bare"] for name, cost in costs.items()}
        figures.append(
            Figure(
                f"accelerator.spawn.{label}",
                ratios["accelerated"],
                "x",
                f"bare create_task = {costs['bare']:.0f} ns",
                ratios,
            )
        )
    return figures
