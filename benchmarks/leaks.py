"""Promise: a census of 10,000 tasks takes 60 ms and holds nobody up for 5 ms; 64 tasks are proved in 3 ms.

The tasks are three coroutines deep and of ten spawn sites. The census and the samples of the growth rule
run in another thread, as the admin plane does it, while the loop measures how late each of its turns
is. A proof runs in the thread of the loop, and nothing else does meanwhile; its time is what a caller waits,
without the words for those who are found. In pure Python; accelerator.py has the extension.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import backstay
from backstay import leak
from backstay.leak._census import births_by_site
from backstay.leak._looks import Looks
from benchmarks.rounds import Figure, low
from benchmarks.spawn import extension

TASKS = 10_000
ROUNDS = 7
SITES = 10


async def _outer(queue: asyncio.Queue[None]) -> None:
    await _middle(queue)


async def _middle(queue: asyncio.Queue[None]) -> None:
    await queue.get()


def _spawners() -> list[Any]:
    """Return functions that start tasks, each from a line of its own."""
    names: dict[str, Any] = {"asyncio": asyncio, "_outer": _outer}
    lines = [
        f"def spawn_{k}(): return asyncio.get_running_loop().create_task(_outer(asyncio.Queue()))"
        for k in range(SITES)
    ]
    exec("\n".join(lines), names)
    return [names[f"spawn_{k}"] for k in range(SITES)]


async def _longest_pause(work: Any, spent: list[float]) -> float:
    def run() -> None:
        before = time.thread_time()
        work()
        spent.append((time.thread_time() - before) * 1e3)

    thread = threading.Thread(target=run)
    thread.start()
    longest = 0.0
    before = time.perf_counter()
    while thread.is_alive():
        await asyncio.sleep(0)
        after = time.perf_counter()
        longest = max(longest, after - before)
        before = after
    thread.join()
    return longest * 1e3


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _census_rounds() -> list[list[float]]:
    backstay.install()
    loop, spawners = asyncio.get_running_loop(), _spawners()
    tasks = [spawners[k % SITES]() for k in range(TASKS)]
    await asyncio.sleep(0)
    pauses: list[float] = []
    census: list[float] = []
    sample: list[float] = []
    rings: list[float] = []
    looks: list[float] = []
    for _ in range(ROUNDS):
        pauses.append(await _longest_pause(lambda: leak.take_census(loop), census))
        await _longest_pause(lambda: births_by_site(loop), sample)
        await _longest_pause(lambda: leak.deadlocks(loop), rings)
        await _longest_pause(lambda: Looks().take(loop, 0.0), looks)
    await _end(tasks)
    backstay.uninstall()
    return [census, pauses, sample, rings, looks]


async def proof_rounds(count: int, rounds: int, *, pure: bool) -> list[float]:
    """Return the milliseconds of each of some proofs of stuck tasks."""
    backstay.install()
    spawners = _spawners()
    tasks = [spawners[0]() for _ in range(count)]  # what nobody holds at all would be collected
    await asyncio.sleep(0)
    costs: list[float] = []
    with extension(wanted=not pure):
        for _ in range(rounds):
            gc.collect()
            proof = leak.prove(per_site=0, budget=10_000_000, holders=False)
            assert proof.asked == len(proof.proved) == count, proof.refused
            costs.append(proof.cost_s * 1e3)
    await _end(tasks)
    backstay.uninstall()
    return costs


def measure() -> list[Figure]:
    """Return milliseconds of processor time, and the longest pause."""
    with asyncio.Runner() as runner:
        census, pauses, sample, rings, looks = runner.run(_census_rounds())
        few = runner.run(proof_rounds(64, 30, pure=True))
        many = runner.run(proof_rounds(TASKS, 4, pure=True))
    note = f"{TASKS:,} tasks of {SITES} sites"
    return [
        Figure("leaks.census", low(census), "ms", note),
        Figure("leaks.census_pause", low(pauses), "ms", "of the loop, while another thread looks"),
        Figure("leaks.sample", low(sample), "ms", note),
        Figure(
            "leaks.deadlocks", low(rings), "ms", f"{note}: 64 of each, and whoever holds them up"
        ),
        Figure("leaks.look", low(looks), "ms", f"{note}: what piles up, which generators stand"),
        Figure("leaks.proof_64", low(few), "ms", "64 stuck tasks, proved twice, in Python"),
        Figure("leaks.proof_10k", low(many), "ms", f"{TASKS:,} stuck tasks, the same"),
    ]
