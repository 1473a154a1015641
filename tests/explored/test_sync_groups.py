"""Event, Barrier, WaitGroup, Once and SingleFlight under thousands of schedules, with cancellations.

What must hold whatever strikes: whoever was not cancelled comes through, what is
done once is done once at a time, and nobody is left in line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from backstay import Scope
from backstay.errors import BarrierBroken
from backstay.sync import Barrier, Event, Once, SingleFlight, WaitGroup
from backstay.sync._wake_queue import wake_queue

FULL = 20_000
QUICK = 300


def start(*work: Awaitable[object]) -> list[asyncio.Future[object]]:
    """Start all of it as tasks, each wake-up a handle of its own, so that every order can be tried."""
    wake_queue().wakes_per_turn = 0
    return [asyncio.ensure_future(part) for part in work]


async def ended(tasks: list[asyncio.Future[object]]) -> list[object]:
    """Wait for all; a cancelled one is a legal course, an error is not."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


async def step() -> None:
    """Let somebody else come in between."""
    await asyncio.sleep(0)


# -- Event --------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_everybody_who_waits_hears_of_an_event() -> None:
    """Set, cleared at once, and set again: each pulse frees those who waited for it."""
    event = Event()
    tasks = start(*(event.wait() for _ in range(4)))
    await step()
    event.set()
    event.clear()
    late = start(event.wait())
    await step()
    event.set()
    await ended(tasks + late)
    assert event.statistics().waiting == 0


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_an_event_cancelled_everywhere() -> None:
    """Nobody is left in line."""
    event = Event()
    tasks = start(*(event.wait() for _ in range(3)))
    await step()
    await step()
    event.set()
    await ended(tasks)
    assert event.statistics().waiting == 0


# -- Barrier ------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_barrier_lets_whole_rounds_through() -> None:
    """However many are cancelled, those who passed did so in rounds of two."""
    barrier = Barrier(2)
    passed: list[int] = []

    async def party() -> None:
        passed.append(await barrier.wait())
        await step()
        passed.append(await barrier.wait())

    tasks = start(*(party() for _ in range(4)))
    # The scenario comes as often as somebody waits alone, so that nobody is left.
    while not all(task.done() for task in tasks):
        if barrier.statistics().waiting == 1:
            await barrier.wait()
        await step()
    await ended(tasks)
    assert barrier.statistics().waiting == 0
    assert len(passed) <= barrier.statistics().rounds * 2
    assert passed.count(0) <= barrier.statistics().rounds
    assert passed.count(1) <= barrier.statistics().rounds


@pytest.mark.explore(schedules=FULL, quick=QUICK)
async def test_a_cancelled_party_has_not_come() -> None:
    """Nor while it is on its way out: another one has to come in its place."""
    barrier = Barrier(2)
    [first] = start(barrier.wait())
    await step()
    first.cancel()
    [second] = start(barrier.wait())
    await barrier.wait()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert second.result() in {0, 1}
    assert barrier.statistics().rounds == 1


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_an_aborted_barrier_sends_everybody_away() -> None:
    """Complete, broken or cancelled: each party hears one of the three."""
    barrier = Barrier(3)
    heard: list[str] = []

    async def party() -> None:
        try:
            await barrier.wait()
            heard.append("complete")
        except BarrierBroken:
            heard.append("broken")

    tasks = start(party(), party(), party())
    await step()
    await step()
    barrier.abort("enough")
    results = await ended(tasks)
    assert len(heard) == sum(result is None for result in results)
    assert barrier.statistics().waiting == 0
    if barrier.statistics().rounds == 0:
        assert "complete" not in heard


# -- WaitGroup -------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_wait_group_waits_for_all_of_a_round() -> None:
    """Tasks that are done, cancelled, or cancelled before they began; two waiters, two rounds."""
    group = WaitGroup()
    alive = 0

    async def member() -> None:
        nonlocal alive
        alive += 1
        try:
            await step()
        finally:
            alive -= 1

    async def waits() -> None:
        await group.wait()
        assert alive == 0
        assert group.count == 0

    wake_queue().wakes_per_turn = 0
    async with Scope("s") as scope:
        for _ in range(2):
            for _ in range(3):
                group.go(member)
            waiters = [scope.go(waits) for _ in range(2)]
            await group.wait()
            assert alive == 0
            await asyncio.wait(waiters)
    assert group.statistics().waiting == 0
    assert group._leaving == 0


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_wait_group_cancelled_everywhere() -> None:
    """Cancelled waiters leave nothing that would refuse the next round."""
    group = WaitGroup()
    group.add(2)

    async def waits() -> None:
        await group.wait()

    tasks = start(waits(), waits())
    await step()
    group.done()
    await step()
    group.done()
    await ended(tasks)
    group.add()
    group.done()


# -- Once ------------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_once_is_one_at_a_time_and_everybody_waits_for_it() -> None:
    """Four callers: whoever returns finds it done, and two runs never overlap."""
    once = Once()
    running = finished = 0

    async def work() -> None:
        nonlocal running, finished
        running += 1
        assert running == 1, "two runs at a time"
        try:
            await step()
            await step()
            finished += 1
        finally:
            running -= 1

    async def caller() -> None:
        await once.do(work)
        assert finished == 1

    results = await ended(start(*(caller() for _ in range(4))))
    assert finished == (1 if once.done else 0)
    if None in results:
        assert once.done
    assert once.statistics().waiting == 0
    await once.do(work)
    assert finished == 1


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_once_with_a_first_try_that_fails() -> None:
    """An error goes to one caller, and somebody else does it; cancelled callers hand over."""
    once = Once()
    failures = done = 0

    async def work() -> None:
        nonlocal failures, done
        await step()
        if not failures:
            failures += 1
            raise OSError("first")
        done += 1

    async def caller() -> str:
        try:
            await once.do(work)
        except OSError:
            return "failed"
        return "done"

    results = await ended(start(*(caller() for _ in range(3))))
    assert results.count("failed") <= 1
    assert done <= 1
    if "done" in results:
        assert done == 1
        assert once.done
    assert once.statistics().waiting == 0


# -- SingleFlight ------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_one_flight_for_one_key() -> None:
    """Calls for a key never overlap, and each caller gets the answer of a call that ended."""
    flight: SingleFlight[str, int] = SingleFlight()
    calls = flying = 0
    landed: set[int] = set()

    async def call() -> int:
        nonlocal calls, flying
        calls += 1
        mine = calls
        flying += 1
        assert flying == 1, "two calls at a time"
        try:
            await step()
            landed.add(mine)
        finally:
            flying -= 1
        return mine

    async def caller() -> None:
        for _ in range(2):
            assert await flight.do("k", call) in landed

    await ended(start(*(caller() for _ in range(3))))
    statistics = flight.statistics()
    assert (statistics.in_flight, statistics.following) == (0, 0)
    assert statistics.calls == calls


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_follower_takes_over() -> None:
    """Whoever is cancelled, the others get an answer; a shared one is marked as shared."""
    flight: SingleFlight[str, int] = SingleFlight()
    answers: list[tuple[int, bool]] = []
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        mine = calls
        await step()
        return mine

    async def caller() -> None:
        answers.append(await flight.do2("k", call))

    results = await ended(start(*(caller() for _ in range(4))))
    assert len(answers) == sum(result is None for result in results)
    for value, shared in answers:
        got = sum(other == value for other, _ in answers)
        assert shared or got == 1, "shared, and not marked"
    assert flight.statistics().in_flight == 0


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_forgotten_flight_lands_on_its_own() -> None:
    """Old and new calls for a key side by side; each follower hears from the one it followed."""
    flight: SingleFlight[str, str] = SingleFlight()

    async def call(answer: str) -> str:
        await step()
        await step()
        return answer

    async def caller(answer: str) -> None:
        assert await flight.do("k", call, answer) in {"old", "new"}

    old = start(caller("old"), caller("old"))
    await step()
    flight.forget("k")
    new = start(caller("new"), caller("new"))
    await ended(old + new)
    assert flight.statistics().in_flight == 0
