"""Promise: a tracked empty task costs at most 1.6x a bare one, on both loops, and 60 bytes.

An empty task is the worst case: a task that does one socket round trip costs a
hundred times as much, and the stamp stays the same. Peers are measured in the
same rounds: the keep-alive set that asyncio's documentation advises, TaskGroup,
anyio's task group and an aiojobs scheduler. The promise holds in pure Python;
what the C extension makes of it is in accelerator.py.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiojobs
import anyio
import uvloop

import backstay
from benchmarks.rounds import Figure, low

BURST = 200
ROUNDS = 150


async def nothing() -> None:
    """Be the emptiest task."""


async def bare() -> None:
    """Start tasks the plain way; the last one to run ends the burst."""
    tasks = [asyncio.create_task(nothing()) for _ in range(BURST)]
    await tasks[-1]


_factories: dict[asyncio.AbstractEventLoop, Any] = {}


@contextmanager
def extension(*, wanted: bool) -> Iterator[None]:
    """Have the C extension used inside, or not, whatever the environment says."""
    former = os.environ.get("BACKSTAY_PURE")
    os.environ["BACKSTAY_PURE"] = "0" if wanted else "1"
    try:
        yield
    finally:
        del os.environ["BACKSTAY_PURE"]
        if former is not None:
            os.environ["BACKSTAY_PURE"] = former


def tracking_factory(loop: asyncio.AbstractEventLoop, *, pure: bool) -> Any:
    """Install tracking, in Python or with the C extension, and return its factory."""
    with extension(wanted=not pure):
        backstay.install(loop)
    return loop.get_task_factory()


def _tracking(loop: asyncio.AbstractEventLoop) -> Any:
    """Return the loop's tracking factory; installing is no part of a spawn."""
    if loop not in _factories:
        _factories[loop] = tracking_factory(loop, pure=True)
    return _factories[loop]


async def tracked() -> None:
    """Start the same tasks on a loop with tracking."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(_tracking(loop))
    await bare()
    loop.set_task_factory(None)


async def keep_alive_set() -> None:
    """Start tasks as asyncio's documentation advises, held in a set."""
    held: set[asyncio.Task[None]] = set()
    for _ in range(BURST):
        task = asyncio.create_task(nothing())
        held.add(task)
        task.add_done_callback(held.discard)
    while held:
        await asyncio.sleep(0)


async def task_group() -> None:
    """Start tasks in the standard library's scope."""
    async with asyncio.TaskGroup() as group:
        for _ in range(BURST):
            group.create_task(nothing())


async def scope() -> None:
    """Start tasks in ours, tracking on."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(_tracking(loop))
    async with backstay.Scope("bench") as owner:
        for _ in range(BURST):
            owner.go(nothing)
    loop.set_task_factory(None)


async def anyio_group() -> None:
    """Start tasks in anyio's scope."""
    async with anyio.create_task_group() as group:
        for _ in range(BURST):
            group.start_soon(nothing)


async def aiojobs_scheduler() -> None:
    """Start tasks in an aiojobs scheduler."""
    async with aiojobs.Scheduler(limit=None) as scheduler:
        for _ in range(BURST):
            await scheduler.spawn(nothing())
        await asyncio.sleep(0)


VARIANTS: dict[str, Callable[[], Awaitable[None]]] = {
    "bare": bare,
    "tracked": tracked,
    "keep-alive set": keep_alive_set,
    "TaskGroup": task_group,
    "Scope.go": scope,
    "anyio": anyio_group,
    "aiojobs": aiojobs_scheduler,
}


async def _rounds() -> dict[str, float]:
    samples: dict[str, list[float]] = {name: [] for name in VARIANTS}
    gc.disable()
    for _ in range(ROUNDS):
        for name, run in VARIANTS.items():
            before = time.perf_counter_ns()
            await run()
            samples[name].append((time.perf_counter_ns() - before) / BURST)
        gc.collect(0)
    gc.enable()
    return {name: low(values) for name, values in samples.items()}


async def _bytes_per_task(track: bool, /) -> float:
    """Return what one blocked task takes, owner and site included."""
    count = 2000
    gate = asyncio.Event()
    if track:
        tracking_factory(asyncio.get_running_loop(), pure=True)
    async with backstay.Scope("memory"):
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tasks = [asyncio.create_task(gate.wait()) for _ in range(count)]
        await asyncio.sleep(0)
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        gate.set()
        await asyncio.gather(*tasks)
    if track:
        backstay.uninstall()
    return used / count


def measure() -> list[Figure]:
    """Return the ratios on both loops, and the bytes."""
    figures: list[Figure] = []
    for label, factory in (("stock", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
        with asyncio.Runner(loop_factory=factory) as runner:
            costs = runner.run(_rounds())
        base = costs["bare"]
        for name, key in (("tracked", "tracked"), ("Scope.go", "scope")):
            figures.append(
                Figure(
                    f"spawn.{key}.{label}",
                    costs[name] / base,
                    "x",
                    f"bare create_task = {base:.0f} ns",
                    {peer: cost / base for peer, cost in costs.items()},
                )
            )
    bytes_each = {False: [], True: []}  # type: dict[bool, list[float]]
    with asyncio.Runner() as runner:
        for _ in range(4):  # the first rounds fill the interpreter's free lists
            for track in (False, True):
                bytes_each[track].append(runner.run(_bytes_per_task(track)))
    plain, ours = min(bytes_each[False]), min(bytes_each[True])
    figures.append(Figure("spawn.bytes", ours - plain, "B", f"bare blocked task = {plain:.0f} B"))
    return figures
