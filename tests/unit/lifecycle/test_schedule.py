"""A schedule begins its runs at their time, one at a time, each with an owner, and leaves in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from schedule_work import Work

import backstay
from backstay import now
from backstay._base import RunEnded, ScheduleMoved, run_ended, schedule_moved, wall
from backstay.errors import LifecycleMisuse
from backstay.lifecycle import Every, Run, Schedule, Service
from backstay.tasks import current_scope, owner_of

START = 1_767_225_600.0  # where the virtual wall begins: a whole number of minutes


def outcomes(schedule: Schedule) -> list[str]:
    return [one.outcome for one in schedule.history()]


async def test_runs_begin_at_their_time_and_not_before() -> None:
    """Each minute, on the minute; none for the minute in which it was started."""
    work = Work(3.0)
    async with Schedule("report", Every(60), work) as schedule:
        await asyncio.sleep(200)
        statistics = schedule.statistics()
        assert (statistics.begun, statistics.done, statistics.next_at) == (3, 3, START + 240)
        assert statistics.last_done_at == START + 183
    assert work.began == [60.0, 120.0, 180.0]
    assert work.planned == [START + 60, START + 120, START + 180]
    assert [run.late_s for run in work.runs] == [0.0, 0.0, 0.0]
    assert work.runs[0].planned.isoformat() == "2026-01-01T00:01:00+00:00"
    assert schedule.statistics().state == "exited"


async def test_a_run_is_a_task_with_a_scope_of_its_own() -> None:
    """Its scope is a job, named after the planned instant, with a trace of its own, and owns what it starts."""
    seen: list[Any] = []

    async def child() -> None:
        await asyncio.sleep(5)
        seen.append(now())

    async def work(run: Run) -> None:
        scope = current_scope()
        assert scope is not None
        seen.extend((scope.name, scope.kind, scope.path[-2:], scope.trace_id))
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.get_name())
        assert owner_of(scope.go(child)) is scope

    async with Schedule("report", Every(60), work):
        await asyncio.sleep(61)
    name = "report 2026-01-01T00:01:00+00:00"
    assert seen[:3] == [name, "job", ("report", name)]
    assert len(seen[3]) == 32
    assert seen[4:] == [name, 65.0]


async def test_errors_are_told_and_the_next_run_comes() -> None:
    """A run that raises, one that passes its deadline, one that cancels itself: three records, and a fourth run."""
    told: list[RunEnded] = []
    work = Work(1.0)
    work.fails = [OSError("the disk is full"), asyncio.CancelledError()]
    unsubscribe = run_ended.subscribe(told.append)
    try:
        async with Schedule("report", Every(60), work, deadline=10.0) as schedule:
            await asyncio.sleep(150)
            work.takes = 30.0
            await asyncio.sleep(60)
            work.takes = 0.5
            await asyncio.sleep(40)
    finally:
        unsubscribe()
    assert outcomes(schedule) == ["failed", "failed", "deadline", "done"]
    first, second, third, _ = schedule.history()
    assert first.error == "OSError: the disk is full"
    assert second.error == "CancelledError: it has cancelled itself"
    assert (third.took_s, "timeout of 10 s" in third.error) == (10.0, True)
    assert [one.outcome for one in told] == outcomes(schedule)
    statistics = schedule.statistics()
    assert (statistics.failed, statistics.deadline, statistics.done, statistics.begun) == (
        2,
        1,
        1,
        4,
    )
    assert statistics.last_error == third.error


@pytest.mark.parametrize(
    ("missed", "began"),
    [
        ("skip", [10.0, 40.0, 70.0]),  # 20 and 30 are given up
        ("once", [10.0, 35.0, 60.0, 85.0]),  # one waits, the newest
        ("all", [10.0, 35.0, 60.0, 85.0]),
    ],
)
async def test_a_run_that_takes_longer_than_the_interval(missed: Any, began: list[float]) -> None:
    """Never two at once: what comes meanwhile is given up, or waits for the place, as the policy says."""
    work = Work(25.0)
    async with Schedule("slow", Every(10), work, missed=missed, most=3) as schedule:
        await asyncio.sleep(94)
    assert work.began == began
    assert work.most_at_once == 1
    late = [
        began - (planned - START) for began, planned in zip(work.began, work.planned, strict=True)
    ]
    if missed == "skip":
        assert late == [0.0, 0.0, 0.0]
        assert schedule.statistics().overlapped == 6
        assert outcomes(schedule).count("overlapped") == 6
    if missed == "once":
        assert work.planned == [START + 10, START + 30, START + 60, START + 80]
        assert schedule.statistics().overlapped == 0
    if missed == "all":
        assert work.planned == [START + 10, START + 20, START + 40, START + 60]


async def test_a_bounded_number_may_run_at_once() -> None:
    """With two places the third is given up."""
    work = Work(25.0)
    async with Schedule("slow", Every(10), work, overlap=2) as schedule:
        await asyncio.sleep(45)
        assert schedule.statistics().running == 2
        assert schedule.statistics().oldest_s == 25.0
    assert work.began == [10.0, 20.0, 40.0]
    assert work.most_at_once == 2


async def test_jitter_delays_a_run_and_never_moves_its_instant() -> None:
    """Each begins up to so much later, by chance, and still is the run of its planned instant."""
    backstay._base.reseed(7)
    work = Work()
    async with Schedule("spread", Every(60), work, jitter=20.0):
        await asyncio.sleep(60 * 20 + 30)
    late = [run.late_s for run in work.runs]
    assert len(late) == 20
    assert all(0 <= one < 20 for one in late)
    assert max(late) > 12
    assert min(late) < 8
    assert [run.planned_at for run in work.runs] == [START + 60 * one for one in range(1, 21)]


async def test_told_to_leave_it_finishes_what_runs_and_begins_nothing() -> None:
    """As a part of a service: the run is finished, the one that waits for its jitter is not begun."""
    moved: list[str] = []
    unsubscribe = schedule_moved.subscribe(lambda one: moved.append(one.after))
    work = Work(15.0)
    schedule = Schedule("report", Every(60), work)
    service = Service("shop")
    service.task("report", schedule.run)
    asyncio.get_running_loop().call_later(65, service.stop)
    try:
        record = await service.run()
    finally:
        unsubscribe()
    assert record.exit_code == 0
    assert (work.ended, now()) == ([75.0], 75.0)
    assert moved == ["running", "draining", "exited"]
    assert isinstance(ScheduleMoved("a", "b", "c", "d"), ScheduleMoved)


async def test_a_run_that_waits_for_its_jitter_is_not_begun_after_the_word_to_leave() -> None:
    """Told amid the jitter: the record says so."""
    backstay._base.reseed(1)
    work = Work()
    async with Schedule("report", Every(60), work, jitter=50.0) as schedule:
        await asyncio.sleep(60.001)
    assert (outcomes(schedule), work.runs) == (["left"], [])
    assert now() < 61


async def test_what_does_not_end_within_the_drain_is_cut_and_named() -> None:
    """Ten seconds, the last one for the end of what was cancelled."""
    work = Work(500.0)
    async with Schedule("report", Every(60), work, drain=10.0) as schedule:
        await asyncio.sleep(61)
    assert (work.ended, now()) == ([70.0], 70.0)
    assert outcomes(schedule) == ["cut"]
    assert schedule.statistics().left_over == ("report 2026-01-01T00:01:00+00:00",)


@pytest.mark.parametrize("after", [61.0, 60.0, 30.0])
async def test_a_cancel_ends_the_runs_with_it(after: float) -> None:
    """Cancelled at work, at the very instant, and while it waits: nothing is alive, all is told."""
    work = Work(500.0)
    schedule = Schedule("report", Every(60), work)
    task = asyncio.get_running_loop().create_task(schedule.run())
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    statistics = schedule.statistics()
    assert (statistics.state, statistics.running) == ("exited", 0)
    assert statistics.begun == statistics.cut
    assert statistics.cut + statistics.left == len(schedule.history())
    assert len(work.ended) == len(work.runs)


async def test_paused_it_begins_nothing() -> None:
    """What comes meanwhile is given up, and it goes on after."""
    work = Work()
    async with Schedule("report", Every(10), work) as schedule:
        await asyncio.sleep(15)
        schedule.pause("the database is being moved")
        assert schedule.paused == schedule.statistics().paused == "the database is being moved"
        assert "paused: the database" in repr(schedule)
        await asyncio.sleep(30)
        schedule.resume()
        await asyncio.sleep(10)
    assert work.began == [10.0, 50.0]
    assert schedule.statistics().overlapped == 3


async def test_a_timetable_that_ends() -> None:
    """When nothing is planned any more, it waits to be told."""

    class Twice:
        def next_after(self, at: float) -> float | None:
            return next((one for one in (START + 5, START + 9) if one > at), None)

    work = Work()
    async with Schedule("twice", Twice(), work) as schedule:
        await asyncio.sleep(100)
        assert schedule.statistics().next_at is None
    assert work.began == [5.0, 9.0]


async def test_history_is_bounded() -> None:
    """The newest records are kept."""
    async with Schedule("report", Every(1), Work(), history=3) as schedule:
        await asyncio.sleep(10.5)
    assert [one.planned_at - START for one in schedule.history()] == [8.0, 9.0, 10.0]


async def test_it_is_used_once_and_checks_its_numbers() -> None:
    """A second run, and what cannot be meant, are refused with words that help."""
    schedule = Schedule("report", Every(60), Work())
    schedule.stop()
    await schedule.run()
    with pytest.raises(LifecycleMisuse, match="used once: it is exited"):
        await schedule.run()
    for wrong in (
        {"overlap": 0},
        {"deadline": 0},
        {"jitter": -1},
        {"look": 0},
        {"ttl": 0.1},
        {"missed": "no"},
    ):
        with pytest.raises(ValueError, match="not"):
            Schedule("report", Every(60), Work(), **wrong)  # type: ignore[arg-type]
    assert wall() == START
