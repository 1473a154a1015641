"""Promise: the C extension keeps a tracked task below 1.25x a bare one; nothing where it was not built.

Pure Python stands beside it in the same rounds, since that is what it is for.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import uvloop

import backstay
from backstay._base import accelerated
from benchmarks.rounds import Figure, low
from benchmarks.spawn import BURST, ROUNDS, bare, tracking_factory


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


def measure() -> list[Figure]:
    """Return the ratios on both loops; none without the extension."""
    if accelerated() is None:
        return []
    figures: list[Figure] = []
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
