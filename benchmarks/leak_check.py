"""Promise: to check a test that leaves nothing costs less than a millisecond, and no wait.

A test is what pytest would run: a loop of its own, a main task, ten tasks that end. It is measured bare
and under `LeakCheck`, on the stock loop and on uvloop, and beside a check by pyleak, which waits 10 ms even for
nothing. One more figure is the check within a loop where 1,000 tasks of others are alive.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import uvloop
from pyleak import no_task_leaks

from backstay.leak.per_test import LeakCheck
from benchmarks.rounds import Figure, interleave, low

ROUNDS = 60
TASKS = 10
OTHERS = 1_000


async def _body() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.create_task(asyncio.sleep(0)) for _ in range(TASKS)))


async def _under_pyleak() -> None:
    async with no_task_leaks(action="raise"):
        await _body()


def _timed(work: Callable[[], Any]) -> float:
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1e3


def _run(main: Callable[[], Any], factory: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def _checked(factory: Callable[[], Any]) -> None:
    with LeakCheck("benchmark"):
        _run(_body, factory)


async def _inside() -> list[float]:
    loop = asyncio.get_running_loop()
    others = [loop.create_task(asyncio.sleep(3600)) for _ in range(OTHERS)]
    await asyncio.sleep(0)
    samples: list[float] = []
    for _ in range(ROUNDS):
        check = LeakCheck("benchmark")
        before = time.perf_counter()
        check.begin()
        await check.end_inside()
        samples.append((time.perf_counter() - before) * 1e3)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return samples


def measure() -> list[Figure]:
    """Return what a clean check adds, in milliseconds, and as a ratio to the test without it."""
    figures: list[Figure] = []
    for name, factory in (("stock", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
        samples = interleave(
            {
                "bare": lambda factory=factory: _timed(lambda: _run(_body, factory)),
                "ours": lambda factory=factory: _timed(lambda: _checked(factory)),
                "pyleak": lambda factory=factory: _timed(lambda: _run(_under_pyleak, factory)),
            },
            ROUNDS,
        )
        bare, ours, pyleak = (low(samples[one]) for one in ("bare", "ours", "pyleak"))
        figures += [
            Figure(
                f"leak_check.{name}",
                ours - bare,
                "ms",
                f"of a test of {TASKS} tasks in a loop of its own",
            ),
            Figure(
                f"leak_check.{name}.ratio",
                ours / bare,
                "x",
                "against the test alone",
                {"pyleak": pyleak / bare},
            ),
        ]
    with asyncio.Runner() as runner:
        inside = runner.run(_inside())
    figures.append(
        Figure("leak_check.inside", low(inside), "ms", f"with {OTHERS:,} tasks of others alive")
    )
    return figures
