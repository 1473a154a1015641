"""Places of a limited scope against a model: a queue in front of a few counters."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay import Scope, now
from backstay.errors import FullError
from backstay.testing import run_virtual


@dataclass(frozen=True)
class Caller:
    arrives: int
    works: int
    gives_up_after: int | None  # seconds after arriving; it then neither waits nor works on
    barges: bool  # calls go() and not go_wait()


def arrival(index: int, caller: Caller) -> float:
    return caller.arrives + index / 100  # no two at once


def end_of_patience(index: int, caller: Caller) -> float | None:
    after = caller.gives_up_after
    return None if after is None else arrival(index, caller) + after + 0.005


def perform(limit: int, callers: list[Caller]) -> tuple[dict[int, float], set[int], int]:
    """Return when each began, who was refused, and the most that were alive at once."""
    began: dict[int, float] = {}
    refused: set[int] = set()
    most = 0

    async def work(index: int) -> None:
        nonlocal most
        began[index] = now()
        most = max(most, len(pool.tasks))
        await asyncio.sleep(callers[index].works + 0.001)

    async def call(index: int) -> None:
        await asyncio.sleep(arrival(index, callers[index]))
        if callers[index].barges:
            try:
                pool.go(work, index)
            except FullError:
                refused.add(index)
        else:
            await pool.go_wait(work, index)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with pool:
            tasks = [loop.create_task(call(index)) for index in range(len(callers))]
            for index, caller in enumerate(callers):
                ends = end_of_patience(index, caller)
                if ends is not None:
                    loop.call_at(ends, tasks[index].cancel)
            await asyncio.wait(tasks)
        assert pool._places._reserved == 0
        assert pool._places.waiting == 0

    pool = Scope("pool", max_tasks=limit)
    run_virtual(main)
    return began, refused, most


def predict(limit: int, callers: list[Caller]) -> tuple[dict[int, float], set[int]]:
    """Say the same from a queue and a heap."""
    events: list[tuple[float, str, int]] = []
    for index, caller in enumerate(callers):
        heapq.heappush(events, (arrival(index, caller), "arrives", index))
        ends = end_of_patience(index, caller)
        if ends is not None:
            heapq.heappush(events, (ends, "gives up", index))
    began: dict[int, float] = {}
    refused: set[int] = set()
    line: deque[int] = deque()
    busy = 0
    while events:
        at, what, index = heapq.heappop(events)
        if what == "ends":
            busy -= 1
        elif what == "gives up":
            if index in line:
                line.remove(index)
        elif callers[index].barges and busy == limit:
            refused.add(index)
        else:
            line.append(index)
        while line and busy < limit:
            first = line.popleft()
            busy += 1
            began[first] = at
            heapq.heappush(events, (at + callers[first].works + 0.001, "ends", first))
    return began, refused


callers = st.builds(
    Caller,
    arrives=st.integers(0, 6),
    works=st.integers(0, 5),
    gives_up_after=st.none() | st.integers(0, 5),
    barges=st.booleans(),
)


@given(limit=st.integers(1, 3), crowd=st.lists(callers, min_size=1, max_size=9))
@settings(max_examples=400, deadline=None)
def test_places_are_given_in_order_of_arrival(limit: int, crowd: list[Caller]) -> None:
    """Nobody barges in, nobody waits beside a free place, and the limit holds."""
    began, refused, most = perform(limit, crowd)
    expected_began, expected_refused = predict(limit, crowd)
    assert most <= limit
    assert refused == expected_refused
    assert {i: round(at, 6) for i, at in began.items()} == {
        i: round(at, 6) for i, at in expected_began.items()
    }
