"""The bounded search: every schedule once, simplest first, on state spaces that can be counted."""

from __future__ import annotations

import asyncio
from itertools import combinations
from math import comb

import pytest

from backstay.testing import ExplorationFailure, explore


def merges(each: int) -> set[str]:
    """Return all orders of `each` steps of a and `each` of b."""
    found = set()
    for places in combinations(range(2 * each), each):
        found.add("".join("a" if at in places else "b" for at in range(2 * each)))
    return found


@pytest.mark.parametrize("each", [1, 2, 3, 4])
def test_all_merges_of_two_tasks_are_seen_and_nothing_else(each: int) -> None:
    """Two tasks of n steps have C(2n, n) orders; the search ends by itself when all were run."""
    seen: set[str] = set()

    async def scenario() -> None:
        log: list[str] = []

        async def writer(name: str) -> None:
            for turn in range(each):
                log.append(name)
                if turn < each - 1:
                    await asyncio.sleep(0)

        await asyncio.gather(writer("a"), writer("b"))
        seen.add("".join(log))

    result = explore(scenario, strategy="dfs", schedules=100_000)
    assert seen == merges(each)
    assert len(seen) == comb(2 * each, each)
    assert result.exhaustive
    assert result.distinct == result.schedules


def test_no_schedule_is_run_twice_with_cancellations() -> None:
    """Cancellations are deviations too, at most one a schedule."""
    ended: set[tuple[str, str]] = set()

    async def scenario() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
        await asyncio.wait(tasks)
        ended.add(tuple("c" if task.cancelled() else "d" for task in tasks))  # type: ignore[arg-type]

    result = explore(scenario, strategy="dfs", cancel=True, schedules=100_000)
    assert result.exhaustive
    assert result.distinct == result.schedules
    assert ended == {("d", "d"), ("c", "d"), ("d", "c")}


def test_the_first_failure_has_the_fewest_deviations() -> None:
    """All schedules with one overtaking are tried before any with two."""

    async def scenario() -> None:
        log: list[int] = []

        async def step(number: int) -> None:
            log.append(number)

        await asyncio.gather(*(step(n) for n in range(4)))
        assert log != [2, 0, 1, 3]
        assert log != [3, 2, 1, 0]

    with pytest.raises(ExplorationFailure, match="It takes 1 overtaking and no cancellation"):
        explore(scenario, strategy="dfs")


def test_a_bound_ends_the_search_before_the_end() -> None:
    """With a bound of one, an order that needs two deviations is not seen."""
    seen: set[str] = set()

    async def scenario() -> None:
        log: list[str] = []

        async def step(name: str) -> None:
            log.append(name)

        await asyncio.gather(*(step(name) for name in "abc"))
        seen.add("".join(log))

    result = explore(scenario, strategy="dfs", depth=1)
    assert result.exhaustive
    assert seen == {"abc", "bac", "cab", "acb"}
    explore(scenario, strategy="dfs")
    assert len(seen) == 6


def test_a_budget_that_ends_early_is_not_called_exhaustive() -> None:
    """The word is kept for a search that has seen everything."""

    async def scenario() -> None:
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(4)))

    assert not explore(scenario, strategy="dfs", schedules=10).exhaustive


def test_who_is_spared_is_no_deviation() -> None:
    """The search does not plan what the loop would refuse."""

    async def scenario() -> None:
        safe = asyncio.create_task(asyncio.sleep(0), name="safe")
        other = asyncio.create_task(asyncio.sleep(0), name="other")
        await asyncio.wait([safe, other])
        assert not safe.cancelled()

    result = explore(
        scenario,
        strategy="dfs",
        cancel=True,
        schedules=10_000,
        spare=lambda task: task.get_name() == "safe",
    )
    assert result.exhaustive
    assert result.cancelled > 0
