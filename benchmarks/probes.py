"""Promise: a probe costs nothing when none is set, and next to nothing beside the watched function.

A workload of small calls is timed before any probe, with one set on a function that it does not call, with one set
on a line that it runs all the time, and after the last one was taken away.
"""

from __future__ import annotations

import asyncio
import sys
import time

import backstay
from backstay.observe.probe import Board
from benchmarks.rounds import Figure, low

CALLS = 3_000
ROUNDS = 60


def aside(value: int) -> int:
    """Be watched, and not called."""
    return value + 1  # <aside>


def step(value: int) -> int:
    """Be called all the time."""
    other = value + 1
    return other * 2  # <hot>


def work() -> int:
    """Call it."""
    total = 0
    for number in range(CALLS):
        total += step(number)
    return total


def _line(mark: str) -> str:
    with open(__file__, encoding="utf-8") as file:
        number = next(n for n, text in enumerate(file, 1) if text.endswith(f"# <{mark}>\n"))
    return f"benchmarks/probes.py:{number}"


def _timed() -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


async def _with_probe(mark: str, samples: list[float], events: list[int]) -> None:
    board = Board()
    probe = await asyncio.to_thread(board.set, _line(mark), hits=1000, rate=0.1, seconds=60)
    samples += [_timed() for _ in range(5)]
    events.append(probe.skipped + len(probe.hits))
    await asyncio.to_thread(board.close)


async def _rounds() -> dict[str, list[float]]:
    backstay.install()
    samples: dict[str, list[float]] = {"never": [], "aside": [], "hot": [], "after": []}
    samples["never"] += [_timed() for _ in range(ROUNDS)]
    events: list[int] = []
    for _ in range(ROUNDS // 5):
        await _with_probe("aside", samples["aside"], [])
        await _with_probe("hot", samples["hot"], events)
        samples["after"] += [_timed() for _ in range(5)]
    assert all(count == 5 * CALLS for count in events), events
    return samples


def measure() -> list[Figure]:
    """Return the three ratios, and the price of one time that a watched line runs unrecorded."""
    samples = asyncio.run(_rounds())
    base = low(samples["never"] + samples["after"])
    price = (low(samples["hot"]) - base) / CALLS * 1e9
    return [
        Figure(
            "probes.after",
            low(samples["after"]) / low(samples["never"]),
            "x",
            "no probe any more, to never one",
        ),
        Figure(
            f"probes.aside.{_means()}",
            low(samples["aside"]) / base,
            "x",
            "calls beside a watched function",
        ),
        Figure(f"probes.hot.{_means()}", price, "ns", "a watched line beyond its rate, each time"),
    ]


def _means() -> str:
    return "monitoring" if sys.version_info >= (3, 12) else "tracing"
