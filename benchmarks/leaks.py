"""Promise: to count 10,000 tasks costs less than to run them, and to prove them stuck a few times as much.

The bare operation is what the tasks themselves cost: to start them, let each run to its wait, cancel it and
take its end. It is measured in the same run, a proof's in the same rounds, so that a slow or a busy machine
slows both; the milliseconds stand beside the ratio. A census holds nobody up for longer than any thread
that computes does.

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


def starters() -> list[Any]:
    """Return functions that start tasks, each from a line of its own."""
    names: dict[str, Any] = {"asyncio": asyncio, "_outer": _outer}
    lines = [
        f"def spawn_{k}(): return asyncio.get_running_loop().create_task(_outer(asyncio.Queue()))"
        for k in range(SITES)
    ]
    exec("\n".join(lines), names)
    return [names[f"spawn_{k}"] for k in range(SITES)]


async def longest_pause(work: Any, spent: list[float]) -> float:
    """Do some work in a thread, note its milliseconds, and return by how many the loop was late at most."""

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


def compute() -> None:
    """Do nothing but compute in Python: by as much any thread makes a loop late, on this interpreter and machine."""
    until = time.thread_time() + 0.03
    while time.thread_time() < until:
        pass


def against_thread(name: str, pauses: list[float], others: list[float]) -> Figure:
    """Return the longest pause of a loop as a ratio to the one that any thread causes."""
    pause, other = low(pauses), low(others)
    note = f"{pause:.1f} ms for the loop at a time; beside a thread that computes {other:.1f} ms"
    return Figure(name, pause / other, "x", note)


async def end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel some tasks, and take their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def life_of(count: int) -> float:
    """Return the milliseconds that some tasks cost themselves: their start, their wait and their end."""
    spawners = starters()
    before = time.perf_counter()
    tasks = [spawners[k % SITES]() for k in range(count)]
    await asyncio.sleep(0)
    await end(tasks)
    spent = (time.perf_counter() - before) * 1e3
    del tasks
    gc.collect()  # what they leave is not to be collected at the cost of what is measured next
    return spent


async def _census_rounds() -> dict[str, list[float]]:
    backstay.install()
    loop, spawners = asyncio.get_running_loop(), starters()
    lives = [await life_of(TASKS) for _ in range(3)]
    tasks = [spawners[k % SITES]() for k in range(TASKS)]
    await asyncio.sleep(0)
    works: dict[str, Any] = {
        "census": lambda: leak.take_census(loop),
        "sample": lambda: births_by_site(loop),
        "deadlocks": lambda: leak.deadlocks(loop),
        "look": lambda: Looks().take(loop, 0.0),
    }
    spent: dict[str, list[float]] = {name: [] for name in ("pause", "other", *works)}
    for _ in range(ROUNDS):
        spent["other"].append(await longest_pause(compute, []))
        for name, work in works.items():
            pause = await longest_pause(work, spent[name])
            if name == "census":
                spent["pause"].append(pause)
    await end(tasks)
    lives += [await life_of(TASKS) for _ in range(3)]
    backstay.uninstall()
    return {"bare": lives, **spent}


async def proof_rounds(count: int, rounds: int, *, pure: bool) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each of some proofs of stuck tasks, and of the lives of as many."""
    backstay.install()
    spawners = starters()
    tasks = [spawners[0]() for _ in range(count)]  # what nobody holds at all would be collected
    await asyncio.sleep(0)
    costs: list[float] = []
    lives: list[float] = []
    with extension(wanted=not pure):
        for _ in range(rounds):
            lives.append(await life_of(count))
            gc.collect()
            proof = leak.prove(per_site=0, budget=10_000_000, holders=False)
            assert proof.asked == len(proof.proved) == count, proof.refused
            costs.append(proof.cost_s * 1e3)
    await end(tasks)
    backstay.uninstall()
    return costs, lives


def against_life(name: str, costs: list[float], lives: list[float], note: str) -> Figure:
    """Return a cost as a ratio to what as many tasks cost themselves."""
    cost, life = low(costs), low(lives)
    return Figure(
        name, cost / life, "x", f"{cost:.1f} ms: {note}; the lives of as many {life:.1f} ms"
    )


def measure() -> list[Figure]:
    """Return the costs against the lives of as many tasks, and the longest pause."""
    with asyncio.Runner() as runner:
        spent = runner.run(_census_rounds())
        few = runner.run(proof_rounds(64, 30, pure=True))
        many = runner.run(proof_rounds(TASKS, 4, pure=True))
    notes = {
        "census": f"{TASKS:,} tasks of {SITES} sites",
        "sample": "the same, for the growth rule",
        "deadlocks": "64 of each site, and whoever holds them up",
        "look": "what piles up, which generators stand",
    }
    return [
        *(
            against_life(f"leaks.{name}", spent[name], spent["bare"], note)
            for name, note in notes.items()
        ),
        against_thread("leaks.census_pause", spent["pause"], spent["other"]),
        against_life("leaks.proof_64", *few, "64 stuck tasks, proved twice, in Python"),
        against_life("leaks.proof_10k", *many, f"{TASKS:,} stuck tasks, the same"),
    ]
