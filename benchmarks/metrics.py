"""Promise: a scrape of 10,000 tasks costs a part of what the tasks cost, and holds nobody up.

The bare operation is what the tasks themselves cost: to start them, let each run to its wait, cancel it and
take its end. It is measured in the same run, so that a slow or a busy machine slows both.

The tasks are of ten spawn sites and belong to a scope with a trace; 150 guards are there as well. The scrape
runs in another thread, as on the admin plane, from the look at the tasks to the text of
OpenMetrics, while the loop measures how late each of its turns is. How late any thread makes it that computes in
Python for as long is measured beside it: that much is the interpreter's and the machine's.
"""

from __future__ import annotations

import asyncio

import backstay
from backstay.guard import Breaker, Bulkhead, Policy
from backstay.observe.metrics import Collector
from benchmarks.leaks import (
    TASKS,
    against_life,
    against_thread,
    compute,
    end,
    life_of,
    longest_pause,
    starters,
)
from benchmarks.rounds import Figure

ROUNDS = 9
GUARDS = 50


async def _rounds() -> tuple[list[float], list[float], list[float], list[float]]:
    """Return the milliseconds of scrapes and of lives, and by which scrapes and computing made the loop late."""
    backstay.install()
    kept = [Policy(f"p{n}", breaker=Breaker(name=f"b{n}")) for n in range(GUARDS)]
    kept_too = [Bulkhead(10, name=f"r{n}") for n in range(GUARDS)]
    lines = starters()
    lives = [await life_of(TASKS) for _ in range(3)]
    async with backstay.Scope("served", trace_id="0af7651916cd43dd8448eb211c80319c"):
        tasks = [lines[k % len(lines)]() for k in range(TASKS)]
        await asyncio.sleep(0)
        collector = Collector()
        spent: list[float] = []
        pauses: list[float] = []
        others: list[float] = []
        for _ in range(ROUNDS):
            others.append(await longest_pause(compute, []))
            pauses.append(
                await longest_pause(lambda: collector.scrape("application/openmetrics-text"), spent)
            )
        await end(tasks)
    lives += [await life_of(TASKS) for _ in range(3)]
    backstay.uninstall()
    assert len(kept) + len(kept_too) == 2 * GUARDS
    return spent, lives, pauses, others


def measure() -> list[Figure]:
    """Return the cost of a scrape against the lives of the tasks that it counts, and the longest pause."""
    with asyncio.Runner() as runner:
        spent, lives, pauses, others = runner.run(_rounds())
    return [
        against_life(
            "metrics.scrape",
            spent,
            lives,
            f"{TASKS:,} tasks of 10 sites, {3 * GUARDS} guards, as text",
        ),
        against_thread("metrics.pause", pauses, others),
    ]
