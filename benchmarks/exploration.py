"""Promise: an explored schedule costs at most four times what the scenario costs on a virtual loop.

A test that takes a tenth of a millisecond can then be run under ten thousand
schedules in the time people are willing to wait. The scenario is two producers
and two consumers on an `asyncio.Queue`, 17 steps of the loop. The comparison
runs it as often on one virtual loop, which is made once and not for each run.
"""

from __future__ import annotations

import asyncio
import time

from backstay.testing import explore, run_virtual
from benchmarks.rounds import Figure, interleave, low

RUNS = 500
ROUNDS = 15


async def scenario() -> None:
    """Hand four items over."""
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    got: list[int] = []

    async def produce() -> None:
        for number in range(2):
            await queue.put(number)

    async def consume() -> None:
        for _ in range(2):
            got.append(await queue.get())

    await asyncio.gather(produce(), produce(), consume(), consume())


async def _again_and_again() -> None:
    for _ in range(RUNS):
        await scenario()


def _virtual() -> float:
    began = time.process_time()
    run_virtual(_again_and_again)
    return time.process_time() - began


def _explored() -> float:
    began = time.process_time()
    explore(scenario, schedules=RUNS)
    return time.process_time() - began


def measure() -> list[Figure]:
    """Return the ratio, and how many schedules a second that is."""
    samples = interleave({"virtual": _virtual, "explored": _explored}, ROUNDS)
    plain, explored = low(samples["virtual"]), low(samples["explored"])
    note = f"{RUNS / explored:.0f} schedules/s of CPU, {explored / RUNS * 1e6:.0f} us each"
    return [Figure("exploration.schedule", explored / plain, "x", note)]
