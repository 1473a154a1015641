"""Cron over the change of clocks, against a model that walks through every minute and looks at the wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.integrations.cron import Cron

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")


def changes(zone: str) -> list[int]:
    """Return the instants from 2024 to 2027 at which a zone changes its clocks."""
    tz = ZoneInfo(zone)
    begin = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    found = []
    for at in range(begin, begin + 4 * 365 * 86400, 1800):
        here, before = (datetime.fromtimestamp(one, tz) for one in (at, at - 1800))
        if here.utcoffset() != before.utcoffset():
            found.append(at)
    return found


CHANGES = {zone: changes(zone) for zone in ZONES}


def model(
    minutes: set[int], hours: set[int], tz: ZoneInfo, start: int, end: int, fixed: bool
) -> list[int]:
    """Return the planned instants in (start, end], by looking at each minute.

    The walk begins two days before, so that it knows what has been shown before.
    """
    walk = [
        (at, datetime.fromtimestamp(at, tz).replace(tzinfo=None))
        for at in range((start // 60) * 60 - 2 * 86400, end + 1, 60)
    ]
    if not fixed:
        return [
            at
            for at, local in walk
            if local.minute in minutes and local.hour in hours and start < at <= end
        ]
    planned: set[int] = set()
    day = walk[0][1].date() + timedelta(days=1)
    while day <= walk[-1][1].date():
        for hour in hours:
            for minute in minutes:
                wanted = datetime.combine(day, datetime.min.time()) + timedelta(
                    hours=hour, minutes=minute
                )
                shown = [at for at, local in walk if local == wanted]
                later = [at for at, local in walk if local > wanted]
                if shown or later:
                    planned.add(shown[0] if shown else later[0])
        day += timedelta(days=1)
    return sorted(at for at in planned if start < at <= end)


def listed(cron: Cron, start: int, end: int) -> list[float]:
    found = []
    at = float(start)
    while (after := cron.next_after(at)) is not None and after <= end:
        assert after > at
        found.append(after)
        at = after
    return found


@settings(max_examples=200)
@given(
    zone=st.sampled_from(ZONES),
    which=st.integers(0, 7),
    minutes=st.sets(st.sampled_from((0, 1, 15, 29, 30, 31, 45, 59)), min_size=1, max_size=3),
    hours=st.sets(st.integers(0, 4), min_size=1, max_size=2),
    back=st.integers(0, 4 * 3600),
    every=st.sampled_from(("", "", "minute", "hour", "minute and hour")),
)
def test_cron_plans_what_the_model_shows(
    zone: str,
    which: int,
    minutes: set[int],
    hours: set[int],
    back: int,
    every: str,
) -> None:
    """Around each change, from wherever it is asked: skipped, repeated and ordinary times as the policy says."""
    every_minute, every_hour = "minute" in every, "hour" in every
    change = CHANGES[zone][which]
    start, end = change - back, change + 3 * 3600
    words = [
        "*/15" if every_minute else ",".join(map(str, minutes)),
        "*" if every_hour else ",".join(map(str, hours)),
    ]
    cron = Cron(f"{words[0]} {words[1]} * * *", tz=zone)
    expected = model(
        {0, 15, 30, 45} if every_minute else minutes,
        set(range(24)) if every_hour else hours,
        ZoneInfo(zone), start, end, not (every_minute or every_hour),
    )  # fmt: skip
    assert listed(cron, start, end) == expected


@given(
    zone=st.sampled_from(ZONES),
    which=st.integers(0, 7),
    at=st.integers(-90000, 90000),
    later=st.integers(1, 9000),
)
def test_the_answer_does_not_depend_on_who_asks(zone: str, which: int, at: int, later: int) -> None:
    """Asked from any instant in between, the next one is the same: replicas agree on which run is which."""
    start = CHANGES[zone][which] + at
    for expression in ("30 2 * * *", "*/20 * * * *", "15,45 1,2 * * *"):
        cron = Cron(expression, tz=zone)
        planned = cron.next_after(start)
        assert planned is not None
        between = min(start + later, planned - 1)
        assert cron.next_after(between) == planned
        assert cron.next_after(planned - 0.25) == planned


def local(cron: Cron, start: str, count: int) -> list[str]:
    at = datetime.fromisoformat(start).timestamp()
    found = []
    for _ in range(count):
        after = cron.next_after(at)
        assert after is not None
        at = after
        found.append(datetime.fromtimestamp(at, cron.zone).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00",
         ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00+01:00",
         ["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00+01:00",
         ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00+02:00",
         ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:10+01:00", ["2026-10-26T02:30+01:00"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T02:00+02:00",
         ["2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00", "2026-10-25T03:00+01:00"]),
        ("59 2 * * *", "Europe/Berlin", "2026-03-29T00:00+01:00", ["2026-03-29T03:00+02:00"]),
        ("15 2 * * *", "America/New_York", "2026-03-08T00:00-05:00",
         ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"]),
        ("30 1 * * *", "America/New_York", "2026-11-01T00:00-04:00",
         ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        ("0 2 * * *", "Australia/Lord_Howe", "2026-10-04T00:00+10:30",
         ["2026-10-04T02:30+11:00", "2026-10-05T02:00+11:00"]),
        ("*/15 3 * * *", "Australia/Lord_Howe", "2026-10-04T00:00+10:30",
         ["2026-10-04T03:00+11:00", "2026-10-04T03:15+11:00"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05T00:00+11:00",
         ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00+00:00", ["2028-02-29T00:00+00:00"]),
        ("0 9 LW * *", "Asia/Tokyo", "2026-01-30T12:00+09:00", ["2026-02-27T09:00+09:00"]),
    ],
)  # fmt: skip
def test_days_on_which_clocks_are_changed(
    expression: str, zone: str, start: str, expected: list[str]
) -> None:
    """The examples of the documentation: skipped at the end of the gap, repeated once or twice."""
    assert local(Cron(expression, tz=zone), start, len(expected)) == expected


def test_what_is_no_cron_expression_is_refused_with_the_reason() -> None:
    """A wrong field, a day that never comes and an unknown zone are told when the schedule is made."""
    with pytest.raises(ValueError, match=r"is no cron expression .*minute"):
        Cron("61 * * * *")
    with pytest.raises(ValueError, match="is no cron expression"):
        Cron("* * *")
    with pytest.raises(ValueError, match=r"is no cron expression|matches no day"):
        Cron("0 0 31 2 *")
    with pytest.raises(ValueError, match="no time zone 'Mars/Olympus'"):
        Cron("0 0 * * *", tz="Mars/Olympus")
    assert repr(Cron("0 0 * * *", tz="Europe/Berlin")) == "Cron('0 0 * * *', tz='Europe/Berlin')"
