"""Promise: two loops share skewed blocking work to within 10 % of the ideal; a blocked loop is named in 40 ms.

The work is 40 calls that block, every other one twenty times as long; in a static
round robin all long ones meet on one loop. Sleeping stands for any call that
gives up the interpreter's lock, and keeps the figure free of the machine's speed.

The rest are honest numbers for docs/explanation/gil-and-loops.md: what a job
costs beside a task, what a second loop does to the timers of the first when it
runs Python code, what calls gain that compute without the lock, and what the
watch costs while nothing happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from backstay import Scope
from backstay.multiloop import Multiloop, Sysmon
from benchmarks.rounds import Figure

LONG_S, SHORT_S, CALLS = 0.02, 0.001, 40
ROUNDS = 3
BURST = 300


# -- placement -------------------------------------------------------------------------


async def _nap(seconds: float, slept: list[float]) -> None:
    began = time.perf_counter()
    time.sleep(seconds)
    slept.append(time.perf_counter() - began)


async def _naps(choose: Callable[[int], Multiloop]) -> float:
    """Run the calls; return the time they took against half of what they slept."""
    slept: list[float] = []
    began = time.perf_counter()
    tasks = [
        choose(number).go(_nap, LONG_S if number % 2 == 0 else SHORT_S, slept)
        for number in range(CALLS)
    ]
    for task in tasks:
        await task
    return (time.perf_counter() - began) / (sum(slept) / 2)


async def _placements() -> dict[str, float]:
    """Return time over ideal on two loops, for one loop, a static round robin, and sharing."""
    found: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        single = await enter(Multiloop("one", procs=1))
        apart = [await enter(Multiloop(f"apart{n}", procs=1)) for n in range(2)]
        pool = await enter(Multiloop("two", procs=2))
        placements: dict[str, Callable[[int], Multiloop]] = {
            "one loop": lambda number: single,
            "static": lambda number: apart[number % 2],
            "stealing": lambda number: pool,
        }
        for _ in range(ROUNDS):
            for name, choose in placements.items():
                found.setdefault(name, []).append(await _naps(choose))
    return {name: min(values) for name, values in found.items()}


# -- cost ------------------------------------------------------------------------------


async def _nothing() -> None:
    """Be the emptiest job."""


async def _burst(start: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    for task in [start() for _ in range(BURST)]:
        await task
    return (time.process_time() - began) / BURST


async def _costs() -> dict[str, float]:
    """Return CPU seconds of starting and awaiting: a task, a scope's child, a job, a thread."""
    found: dict[str, list[float]] = {}
    async with Multiloop("cost", procs=1) as pool, Scope("here") as scope:
        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "task": lambda: asyncio.create_task(_nothing()),
            "scope.go": lambda: scope.go(_nothing),
            "pool.go": lambda: pool.go(_nothing),
            "to_thread": lambda: asyncio.create_task(asyncio.to_thread(int)),
        }
        for _ in range(10):
            for name, start in ways.items():
                found.setdefault(name, []).append(await _burst(start))
    return {name: min(values) for name, values in found.items()}


# -- the lock --------------------------------------------------------------------------


async def _burn(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


async def _lateness(count: int = 60) -> float:
    """Return how late a timer of 2 ms is on this loop, at the median, in milliseconds."""
    late: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        late.append((time.perf_counter() - began - 0.002) * 1e3)
    return statistics.median(late)


async def _timers() -> dict[str, float]:
    """Return that lateness alone, and beside a loop that runs Python code."""
    found = {"alone": await _lateness()}
    interval = sys.getswitchinterval()
    async with Multiloop("burner", procs=1) as pool:
        for name, switch in (("beside Python code", interval), ("switching at 0.5 ms", 0.0005)):
            stop = threading.Event()
            sys.setswitchinterval(switch)
            try:
                task = pool.go(_burn, stop)
                await asyncio.sleep(0.02)
                found[name] = await _lateness()
            finally:
                stop.set()
                sys.setswitchinterval(interval)
            await task
    return found


async def _digest() -> None:
    hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 30_000)


async def _sums() -> None:
    sum(number * number for number in range(150_000))


async def _speed_up(job: Callable[[], Awaitable[None]]) -> float:
    """Return how much sooner eight such jobs are done on two loops than on one."""
    took: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for procs, times in took.items():
            async with Multiloop("speed", procs=procs) as pool:
                began = time.perf_counter()
                for task in [pool.go(job) for _ in range(8)]:
                    await task
                times.append(time.perf_counter() - began)
    return min(took[1]) / min(took[2])


# -- the watch -------------------------------------------------------------------------


async def _idle_cost() -> float:
    """Return the share of one processor that watching an idle loop takes, in percent."""
    with Sysmon(asyncio.get_running_loop()) as sysmon:
        await asyncio.sleep(1.5)  # until the looks have become rare
        before = sysmon.statistics().cpu_s
        began = time.perf_counter()
        await asyncio.sleep(2.5)
        return (sysmon.statistics().cpu_s - before) / (time.perf_counter() - began) * 100


async def _notice() -> float:
    """Return how soon a block of 100 ms is named with a limit of 20 ms, in milliseconds."""
    soonest = 1e9
    for _ in range(5):
        heard: list[float] = []
        loop = asyncio.get_running_loop()
        with Sysmon(
            loop, 0.02, on_block=lambda _, __, heard=heard: heard.append(time.perf_counter())
        ):  # type: ignore[misc]
            await asyncio.sleep(0.1)
            began = time.perf_counter()
            time.sleep(0.1)
            await asyncio.sleep(0.02)
        soonest = min(soonest, (heard[0] - began) * 1e3)
    return soonest


def measure() -> list[Figure]:
    """Return what is promised, and what is only told."""
    placed = asyncio.run(_placements())
    costs = asyncio.run(_costs())
    timers = asyncio.run(_timers())
    micro = {name: seconds * 1e6 for name, seconds in costs.items()}
    return [
        Figure("multiloop.skew", placed["stealing"], "x", "of the ideal on two loops", placed),
        Figure(
            "multiloop.job", costs["pool.go"] / costs["task"], "x", "CPU of a task, in us:", micro
        ),
        Figure("multiloop.timer", timers["beside Python code"], "ms", "late at the median", timers),
        Figure("multiloop.unlocked", asyncio.run(_speed_up(_digest)), "x", "two loops, pbkdf2"),
        Figure("multiloop.python", asyncio.run(_speed_up(_sums)), "x", "two loops, Python code"),
        Figure("sysmon.idle", asyncio.run(_idle_cost()), "%", "of one processor, loop idle"),
        Figure("sysmon.notice", asyncio.run(_notice()), "ms", "after a block of 100 ms began"),
    ]
