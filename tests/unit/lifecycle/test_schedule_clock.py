"""The clock on the wall is set while a schedule runs, and clocks are changed in the places where it runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from schedule_work import SetClock, Work

from backstay._base import ClockJumped, clock_jumped
from backstay.integrations.cron import Cron
from backstay.lifecycle import Every, Schedule, Timetable
from backstay.testing import run_virtual

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

Steps = list[tuple[float, float]]


def play(
    timetable: Timetable, steps: Steps, *, start: float = NOON, takes: float = 0.0, **options: Any
) -> tuple[Schedule, Work]:
    """Run a schedule; after each wait set the clock by so much."""
    clock = SetClock(start)
    work = Work(takes)

    async def main() -> Schedule:
        async with Schedule("job", timetable, work, **options) as schedule:
            for wait, jump in steps:
                await asyncio.sleep(wait)
                clock.set_by(jump)
        return schedule

    return run_virtual(main, clock=clock), work


def minutes(work: Work) -> list[float]:
    return [(planned - NOON) / 60 for planned in work.planned]


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        # 12:01, 12:02, then at 12:02:30 the clock is set to 12:12:30, noticed within 5 s.
        ("skip", [1, 2, 12, 13]),
        ("once", [1, 2, 12, 13]),
        ("all", [1, 2, 8, 9, 10, 11, 12, 13]),
    ],
)
def test_forward_by_ten_minutes(missed: Any, expected: list[float]) -> None:
    """A job of each minute: the newest is at most a minute old and runs; "all" makes up for five."""
    schedule, work = play(Every(60), [(150, 10 * MINUTE), (40, 0)], missed=missed, most=5)
    assert minutes(work) == expected
    statistics = schedule.statistics()
    assert (statistics.clock_jumps, statistics.clock_jump_s) == (1, 600.0)
    assert statistics.missed == 10 - (len(expected) - 3)


@pytest.mark.parametrize(("missed", "begun"), [("skip", 0), ("once", 1), ("all", 1)])
def test_forward_over_the_only_run_of_a_day(missed: Any, begun: int) -> None:
    """12:05 is stepped over at 12:01, to 12:11: six minutes late is too late to "skip", not to the others."""
    schedule, work = play(
        Every(DAY, phase=12 * HOUR + 5 * MINUTE), [(60, 10 * MINUTE), (60, 0)], missed=missed
    )
    assert minutes(work) == [5.0] * begun
    assert schedule.statistics().missed == 1 - begun
    if begun:
        assert 360 <= work.runs[0].late_s <= 365


@pytest.mark.parametrize(("missed", "begun"), [("skip", 0), ("once", 1), ("all", 3)])
def test_forward_by_a_day(missed: Any, begun: int) -> None:
    """A job of each hour at half past: 24 come due at once; the newest is half an hour old."""
    schedule, work = play(Every(HOUR, phase=1800), [(10, DAY), (20, 0)], missed=missed, most=3)
    assert minutes(work) == [23 * 60.0 + 30 - 60 * back for back in reversed(range(begun))]
    assert schedule.statistics().missed == 24 - begun


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
@pytest.mark.parametrize("back", [10 * MINUTE, DAY])
def test_backward_nothing_is_begun_twice(missed: Any, back: float) -> None:
    """What has run comes by again without a run, and so does what was before the begin; then it goes on."""
    timetable = Every(60) if back < DAY else Every(HOUR, phase=60)
    after = 14 * MINUTE if back < DAY else DAY + HOUR
    schedule, work = play(timetable, [(330, -back), (after, 0)], missed=missed)
    assert minutes(work) == ([1, 61] if back == DAY else [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert schedule.statistics().clock_jump_s == -back


def test_a_mistake_of_a_day_that_is_put_right() -> None:
    """Set to tomorrow and back: what was stepped over comes at its time, what ran there does not run again."""
    schedule, work = play(Every(60), [(90, DAY), (120, -DAY), (180, 0)], missed="skip")
    tomorrow = DAY / 60
    assert minutes(work) == [1, tomorrow + 1, tomorrow + 2, tomorrow + 3, 4, 5, 6]
    assert schedule.statistics().clock_jumps == 2


def test_a_jump_is_told() -> None:
    """The event says by how much; corrections of less than a second are none."""
    told: list[ClockJumped] = []
    unsubscribe = clock_jumped.subscribe(told.append)
    try:
        schedule, _ = play(Every(HOUR), [(10, 0.4), (10, 0.4), (10, -600), (10, 0)])
    finally:
        unsubscribe()
    assert [(one.noticed_by, round(one.seconds)) for one in told] == [("job", -600)]
    assert schedule.statistics().clock_jumps == 1


@pytest.mark.parametrize(("missed", "begun"), [("skip", 0), ("once", 1), ("all", 3)])
def test_what_was_missed_while_no_process_ran(missed: Any, begun: int) -> None:
    """`since` says what was done last: three hours are missing, and the policy decides."""
    schedule, work = play(
        Every(HOUR), [(10, 0)], missed=missed, since=NOON + 60 - 3 * HOUR, start=NOON + 120
    )
    assert minutes(work) == [-60.0 * back for back in reversed(range(begun))]
    assert schedule.statistics().missed == 3 - begun


@pytest.mark.parametrize(
    ("zone", "start", "expression", "hours", "expected"),
    [
        ("Europe/Berlin", "2026-03-29T00:00+01:00", "30 2 * * *", 5, ["03:00 +02"]),
        ("Europe/Berlin", "2026-03-29T00:30+01:00", "0 * * * *", 3, ["01:00 +01", "03:00 +02", "04:00 +02"]),
        ("Europe/Berlin", "2026-10-25T00:00+02:00", "30 2 * * *", 5, ["02:30 +02"]),
        ("Europe/Berlin", "2026-10-25T01:30+02:00", "0 * * * *", 3, ["02:00 +02", "02:00 +01", "03:00 +01"]),
        ("America/New_York", "2026-03-08T00:00-05:00", "30 2 * * *", 5, ["03:00 -04"]),
        ("America/New_York", "2026-11-01T00:00-04:00", "30 1 * * *", 5, ["01:30 -04"]),
        ("America/New_York", "2026-11-01T00:10-04:00", "*/30 1 * * *", 3,
         ["01:00 -04", "01:30 -04", "01:00 -05", "01:30 -05"]),
        ("Australia/Lord_Howe", "2026-10-04T00:00+10:30", "15 2 * * *", 5, ["02:30 +11"]),
        ("Australia/Lord_Howe", "2026-04-05T00:00+11:00", "45 1 * * *", 5, ["01:45 +11"]),
        ("Australia/Lord_Howe", "2026-04-05T01:10+11:00", "*/15 1 * * *", 2,
         ["01:15 +11", "01:30 +11", "01:45 +11", "01:30 +10:30", "01:45 +10:30"]),
    ],
)  # fmt: skip
def test_a_night_in_which_clocks_are_changed(
    zone: str, start: str, expression: str, hours: float, expected: list[str]
) -> None:
    """The schedule waits in seconds that pass and runs at what the wall shows: nothing twice, nothing lost."""
    begin = datetime.fromisoformat(start).timestamp()
    cron = Cron(expression, tz=zone)
    schedule, work = play(cron, [(hours * HOUR, 0)], start=begin, missed="all")
    shown = [datetime.fromtimestamp(planned, cron.zone) for planned in work.planned]
    assert [f"{one:%H:%M} {one:%z}".removesuffix("00") for one in shown] == [
        one.replace("+10:30", "+1030") for one in expected
    ]
    assert [began + begin for began in work.began] == pytest.approx(work.planned, abs=0.01)
    assert schedule.statistics().clock_jumps == 0
