"""Cron expressions for `lifecycle.Schedule`, read by cronsim, with a policy of our own for the change of clocks.

Extra: ``pip install backstay[cron]``. Tested with cronsim 2.6 to 2.8.

    nightly = Schedule("report", Cron("30 2 * * *", tz="Europe/Berlin"), make_report)

What it adds: cronsim reads the expression and finds the days and times that match, without a time
zone. Which instants those are is decided here (the table is in docs/reference/schedule.md), so that
nothing is lost or made twice where clocks are changed by half an hour, and a question that is asked
from within an hour that comes twice is never answered with the past.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from backstay.lifecycle import next_instant

__all__ = ["Cron"]

_ANY_DAY = datetime(2026, 1, 1)  # noqa: DTZ001 - to see whether the expression can be read


class Cron:
    """The instants of a cron expression in the local time of a zone; see `lifecycle.Timetable`.

    Five fields, as in a crontab (minute, hour, day of month, month, day of week), or six with
    seconds in front. When the field of minutes or the one of hours begins with ``*``, the expression
    is a repeated one, else it means fixed times of day: that decides what the change of clocks does.

    Attributes:
        expression: as given.
        zone: whose local time it is.
        fixed: whether it means fixed times of day.
    """

    __slots__ = ("expression", "fixed", "zone")

    def __init__(self, expression: str, *, tz: str | tzinfo = "UTC") -> None:
        """Read an expression.

        Args:
            expression: "30 2 * * *", "*/15 8-18 * * MON-FRI", "0 0 L * *", …
            tz: the name of a zone ("Europe/Berlin"), or a zone.

        Raises:
            ValueError: the expression cannot be read or never matches, or there is no such zone.
        """
        try:
            self.zone = ZoneInfo(tz) if isinstance(tz, str) else tz
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"there is no time zone {tz!r}: name one of the IANA database, as 'Europe/Berlin', "
                "and install tzdata where the system has none"
            ) from error
        try:
            self._check(expression)
        except CronSimError as error:
            raise ValueError(
                f"{expression!r} is no cron expression ({error}): five fields are expected, minute, hour, "
                "day of month, month, day of week, or six with seconds in front"
            ) from error
        fields = expression.split()
        minute, hour = fields[-5], fields[-4]
        self.expression = expression
        self.fixed = not (minute.startswith("*") or hour.startswith("*"))

    @staticmethod
    def _check(expression: str) -> None:
        if next(CronSim(expression, _ANY_DAY), None) is None:
            raise ValueError(f"{expression!r} matches no day within 50 years")

    def next_after(self, at: float) -> float | None:
        """Return the first instant after `at`, in unix seconds; None when none comes within 50 years.

        Cost: some 100 to 300 microseconds; a few milliseconds for an expression of one day in many years.
        """
        found = next_instant(math.floor(at), self.zone, self._following, fixed=self.fixed)
        return None if found is None else float(found)

    def _following(self, local: datetime) -> Iterator[datetime]:
        return CronSim(self.expression, local)

    def __repr__(self) -> str:
        """Show the expression and the zone."""
        return f"Cron({self.expression!r}, tz={str(self.zone)!r})"
