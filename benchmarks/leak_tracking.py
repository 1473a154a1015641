"""Promise: knowing where each task was started costs at most 1.6x; asyncio's debug mode costs 20x and more.

Beside it, in the same rounds, everything else that tells where a task was started: debug mode, pyleak
with creation tracking (which switches debug mode on), and aiomonitor's task hook.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from typing import Any

import aiomonitor
from pyleak import no_task_leaks

from benchmarks.rounds import Figure, low
from benchmarks.spawn import BURST, bare, tracking_factory

ROUNDS = 40


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


async def _timed() -> float:
    before = time.perf_counter_ns()
    await bare()
    return (time.perf_counter_ns() - before) / BURST


async def _with_factory(factory: Any) -> float:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        return await _timed()
    finally:
        loop.set_task_factory(None)


async def _debug_mode() -> float:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        return await _timed()
    finally:
        loop.set_debug(False)


async def _pyleak() -> float:
    async with no_task_leaks(enable_creation_tracking=True):
        cost = await _timed()
    asyncio.get_running_loop().set_debug(False)
    return cost


async def _rounds() -> dict[str, float]:
    loop = asyncio.get_running_loop()
    ours = tracking_factory(loop, pure=True)
    loop.set_task_factory(None)
    first, second = _free_port(), _free_port()
    monitor = aiomonitor.start_monitor(
        loop, hook_task_factory=True, port=first, webui_port=second, console_enabled=False
    )
    theirs = loop.get_task_factory()
    samples: dict[str, list[float]] = {}

    def add(name: str, cost: float) -> None:
        samples.setdefault(name, []).append(cost)

    gc.disable()
    for _ in range(ROUNDS):
        add("bare", await _with_factory(None))
        add("tracked", await _with_factory(ours))
        add("debug mode", await _debug_mode())
        add("pyleak", await _pyleak())
        add("aiomonitor", await _with_factory(theirs))
        gc.collect()
    gc.enable()
    monitor.close()
    return {name: low(values) for name, values in samples.items()}


def measure() -> list[Figure]:
    """Return the ratio of tracking, with those of the peers beside it."""
    with asyncio.Runner() as runner:
        costs = runner.run(_rounds())
    base = costs["bare"]
    return [
        Figure(
            "leak_tracking.site",
            costs["tracked"] / base,
            "x",
            f"bare create_task = {base:.0f} ns",
            {peer: cost / base for peer, cost in costs.items()},
        )
    ]
