"""Promise: our locks cost less than asyncio's, though they know who holds them and for how long.

A `Mutex` nobody else wants: at most 0.85 of `asyncio.Lock`. A reader's lock: at most 0.2 of
aiorwlock's. Contended, eight tasks want the same lock and hold it over one turn of the loop.
Peers are measured in the same rounds, in CPU time of the process.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiorwlock
import anyio
import uvloop

from backstay.sync import AtomicCounter, Mutex, Once, RWMutex, Semaphore, WaitGroup
from benchmarks.rounds import Figure, low

ROUNDS = 25
TIMES = 2_000
TASKS = 8
EACH = 100

Lock = AbstractAsyncContextManager[Any]
Work = Callable[[], Awaitable[None]]


async def _block(lock: Lock) -> float:
    """Return the nanoseconds of a block that nobody else wants."""
    before = time.process_time_ns()
    for _ in range(TIMES):
        async with lock:
            pass
    return (time.process_time_ns() - before) / TIMES


async def _contended(lock: Lock) -> float:
    """Return the nanoseconds of a block that eight tasks want and hold over a turn of the loop."""

    async def worker() -> None:
        for _ in range(EACH):
            async with lock:
                await asyncio.sleep(0)

    before = time.process_time_ns()
    await asyncio.gather(*(worker() for _ in range(TASKS)))
    return (time.process_time_ns() - before) / (TASKS * EACH)


async def _call(operation: Callable[[], object]) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        operation()
    return (time.process_time_ns() - before) / TIMES


async def _await(operation: Callable[[], Awaitable[object]]) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        await operation()
    return (time.process_time_ns() - before) / TIMES


def _variants() -> dict[str, Callable[[], Awaitable[float]]]:
    ours, theirs = RWMutex("bench"), aiorwlock.RWLock()
    group, counter, once = WaitGroup("bench"), AtomicCounter(), Once("bench")

    def add_and_done() -> None:
        group.add()
        group.done()

    async def nothing() -> None: ...

    blocks: dict[str, Lock] = {
        "asyncio.Lock": asyncio.Lock(),
        "Mutex": Mutex("bench"),
        "anyio.Lock": anyio.Lock(),
        "anyio.Lock fast": anyio.Lock(fast_acquire=True),
        "aiorwlock reader": theirs.reader_lock,
        "RWMutex.read": ours.read,
        "aiorwlock writer": theirs.writer_lock,
        "RWMutex.write": ours.write,
        "asyncio.Semaphore": asyncio.Semaphore(8),
        "Semaphore": Semaphore(8, name="bench"),
    }
    crowds: dict[str, Lock] = {
        "asyncio.Lock crowd": asyncio.Lock(),
        "Mutex crowd": Mutex("bench"),
        "anyio.Lock crowd": anyio.Lock(),
        "anyio.Lock fast crowd": anyio.Lock(fast_acquire=True),
    }
    return {
        **{name: (lambda lock=lock: _block(lock)) for name, lock in blocks.items()},
        **{name: (lambda lock=lock: _contended(lock)) for name, lock in crowds.items()},
        "WaitGroup add+done": lambda: _call(add_and_done),
        "AtomicCounter.add": lambda: _call(counter.add),
        "Once.do, done": lambda: _await(lambda: once.do(nothing)),
    }


async def _rounds() -> dict[str, float]:
    variants = _variants()
    samples: dict[str, list[float]] = {name: [] for name in variants}
    gc.disable()
    for _ in range(ROUNDS):
        for name, run in variants.items():
            samples[name].append(await run())
        gc.collect(0)
    gc.enable()
    return {name: low(values) for name, values in samples.items()}


def _figure(
    name: str, costs: dict[str, float], ours: str, base: str, peers: tuple[str, ...] = ()
) -> Figure:
    """Compare one of ours with the lock it stands in for, and list the peers."""
    note = f"{ours} {costs[ours]:.0f} ns, {base} {costs[base]:.0f} ns"
    return Figure(
        name,
        costs[ours] / costs[base],
        "x",
        note,
        {peer: costs[peer] / costs[base] for peer in peers},
    )


def measure() -> list[Figure]:
    """Return the ratios on both loops."""
    figures: list[Figure] = []
    for label, factory in (("stock", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
        with asyncio.Runner(loop_factory=factory) as runner:
            costs = runner.run(_rounds())
        figures += [
            _figure(
                f"sync.mutex.{label}",
                costs,
                "Mutex",
                "asyncio.Lock",
                ("anyio.Lock", "anyio.Lock fast"),
            ),
            _figure(
                f"sync.contended.{label}",
                costs,
                "Mutex crowd",
                "asyncio.Lock crowd",
                ("anyio.Lock crowd", "anyio.Lock fast crowd"),
            ),
            _figure(f"sync.read.{label}", costs, "RWMutex.read", "aiorwlock reader"),
            _figure(f"sync.write.{label}", costs, "RWMutex.write", "aiorwlock writer"),
            _figure(f"sync.semaphore.{label}", costs, "Semaphore", "asyncio.Semaphore"),
        ]
        if label == "stock":
            figures += [
                Figure(f"sync.{key}", costs[name], "ns", name)
                for key, name in (
                    ("waitgroup", "WaitGroup add+done"),
                    ("counter", "AtomicCounter.add"),
                    ("once", "Once.do, done"),
                )
            ]
    return figures
