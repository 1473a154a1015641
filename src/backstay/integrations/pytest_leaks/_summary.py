"""What a run says at its end: leaks by the place that starts them, and which known ones are gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypedDict

from backstay.integrations.pytest_leaks._baseline import Entry, plain

__all__ = ["Row", "Tally"]


class Row(TypedDict):
    """One leak of one test, as it travels with the report of the test."""

    status: str  # "new", "known" or "expected"
    verdict: str
    site: str
    function: str
    place: str  # as in a baseline


@dataclass(slots=True)
class Tally:
    """Leaks of all tests of a run."""

    rows: list[tuple[str, Row]] = field(default_factory=list[Any])  # with the test
    checked: set[str] = field(default_factory=set[str])  # tests, without parameters
    passed: set[str] = field(default_factory=set[str])

    def add(self, nodeid: str, rows: Iterable[Row]) -> None:
        """Count the leaks of a test."""
        self.checked.add(plain(nodeid))
        self.rows += [(nodeid, row) for row in rows]

    def entries(self) -> set[Entry]:
        """Return what a baseline of this run would say."""
        return {
            Entry(row["place"], plain(nodeid))
            for nodeid, row in self.rows
            if row["status"] != "expected"
        }

    def table(self) -> list[str]:
        """Return the lines of the table, most leaks first."""
        sites: dict[tuple[str, str, str, str], list[str]] = {}
        for nodeid, row in self.rows:
            key = row["verdict"], row["site"], row["function"], row["status"]
            sites.setdefault(key, []).append(nodeid)
        if not sites:
            return []
        width = max(len("started at"), *(len(site) for _, site, _, _ in sites))
        lines = [f"{'count':>5}  {'tests':>5}  {'verdict':<9}  {'started at':<{width}}  in"]
        for key, tests in sorted(sites.items(), key=lambda one: (-len(one[1]), one[0])):
            verdict, site, function, status = key
            some = sorted(set(tests))
            mark = "" if status == "new" else f"  ({status})"
            lines.append(
                f"{len(tests):>5}  {len(some):>5}  {verdict:<9}  {site:<{width}}  {function}(){mark}"
            )
            lines.append(f"{'':14}{some[0]}" + (f" and {len(some) - 1} more" if some[1:] else ""))
        return lines
