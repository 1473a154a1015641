"""From local times to instants: what becomes of 02:30 when the clocks are changed.

A calendar is written in local time, and twice a year local time is not a line: an hour (in places
half an hour) does not exist, and one comes twice. The policy is the one of Debian's cron, which
people know: a *fixed* time of day means "once on each such day"; a repeated one ("each 15 minutes")
means "whenever the clock on the wall shows it".

| local time | fixed | repeated |
| --- | --- | --- |
| exists once | then | then |
| is skipped | at the first instant after the gap; several of a gap are one | not at all |
| comes twice | the first time | both times |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["next_instant"]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic on naive local times is what this is for

Following = Callable[[datetime], Iterator[datetime]]
"""Given a naive local time, the ones of the calendar after it, in order, as if no clock were ever changed."""


def next_instant(at: int, zone: tzinfo, following: Following, *, fixed: bool) -> int | None:
    """Return the first instant of a calendar after `at`, in whole unix seconds; None when there is none.

    Args:
        at: unix seconds.
        zone: whose local time the calendar is written in.
        following: the local times of the calendar.
        fixed: whether its times of day are fixed ones.

    Cost: some ten microseconds, and what the calendar takes.
    """
    here = datetime.fromtimestamp(at, zone)
    local = here.replace(tzinfo=None, fold=0)
    found: int | None = None
    for one in following(local):
        later = [instant for instant in _instants(one, zone, fixed) if instant > at]
        if later:
            found = later[0]
            break
    if fixed or here.fold:
        return found
    first, second = _offsets(local, zone)
    if first > second:
        # In the first of two passes: local times that have been there come by again.
        back = _change(at, at + first - second, zone)
        for one in following(_EPOCH + timedelta(seconds=back + second - 1)):
            again = _seconds(one) - second
            if found is None or again < found:
                return again
            break
    return found


def _instants(local: datetime, zone: tzinfo, fixed: bool) -> list[int]:
    """Return when a local time of the calendar is, in order."""
    first, second = _offsets(local, zone)
    naive = _seconds(local)
    if first == second:
        return [naive - first]
    if first > second:
        return [naive - first] if fixed else [naive - first, naive - second]
    return [_change(naive - second - 1, naive - first, zone)] if fixed else []


def _offsets(local: datetime, zone: tzinfo) -> tuple[int, int]:
    """Return the offsets of a local time in seconds: the first is greater when it comes twice, less when never."""
    first = local.replace(tzinfo=zone, fold=0).utcoffset()
    second = local.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None
    assert second is not None
    return int(first.total_seconds()), int(second.total_seconds())


def _change(before: int, after: int, zone: tzinfo) -> int:
    """Return the instant between the two at which the clocks are changed."""

    def offset(at: int) -> timedelta | None:
        return datetime.fromtimestamp(at, zone).utcoffset()

    old = offset(before)
    while after - before > 1:
        middle = (before + after) // 2
        if offset(middle) == old:
            before = middle
        else:
            after = middle
    return after


def _seconds(local: datetime) -> int:
    return int(local.replace(tzinfo=UTC).timestamp())
