"""What has moved between two looks, spawn site by spawn site: shown, and never accused."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from backstay.observe.diagnose._look import Document, Look, rows, words

__all__ = ["Move", "moves"]

_TRACES = 5
_MANY = 10  # tasks


@dataclass(frozen=True, slots=True)
class Move:
    """The tasks of one spawn site, before and after."""

    site: str  # "path:line"
    function: str
    before: int  # tasks alive
    after: int
    oldest_s: float | None  # age of the oldest at the end, seconds
    waits: tuple[tuple[str, int], ...]  # what they wait for and where, and how many do
    trace_ids: tuple[str, ...]  # of some that are alive

    @property
    def change(self) -> int:
        """Tasks gained."""
        return self.after - self.before

    @property
    def worth_a_row(self) -> bool:
        """Whether a person would miss it: it has moved, or has many tasks."""
        return self.change != 0 or self.after >= _MANY

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        waits = [{"what": what, "count": count} for what, count in self.waits]
        return {
            **asdict(self),
            "change": self.change,
            "waits": waits,
            "trace_ids": list(self.trace_ids),
        }


@dataclass(slots=True)
class _Site:
    function: str = ""
    count: int = 0
    oldest: float | None = None
    waits: Counter[str] = field(default_factory=Counter[str])
    trace_ids: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, group: Document) -> None:
        count = int(group.get("count") or 0)
        self.count += count
        self.function = str(group.get("function") or group.get("coroutine") or "")
        age = group.get("age_max_s")
        if isinstance(age, int | float):
            self.oldest = max(self.oldest or 0.0, float(age))
        blocked_on = group.get("blocked_on")
        self.waits[str(blocked_on) if blocked_on else str(group.get("state") or "ready")] += count
        self.trace_ids.update(dict.fromkeys(words(group.get("trace_ids"))))


def moves(before: Look, after: Look, most: int = 12) -> list[Move]:
    """Return the sites whose number of tasks has changed most, and then those with most tasks.

    Args:
        before: at the begin of the window.
        after: at its end.
        most: sites to tell.
    """
    then, now = _by_site(before), _by_site(after)
    found: list[Move] = []
    for site in then.keys() | now.keys():
        here = now.get(site, _Site())
        past = then.get(site, _Site())
        found.append(
            Move(
                site=site,
                function=here.function or past.function,
                before=past.count,
                after=here.count,
                oldest_s=here.oldest,
                waits=tuple(here.waits.most_common(3)),
                trace_ids=tuple(here.trace_ids)[:_TRACES],
            )
        )
    found.sort(key=lambda move: (-abs(move.change), -move.after, move.site))
    return found[:most]


def _by_site(look: Look) -> dict[str, _Site]:
    sites: dict[str, _Site] = {}
    for group in rows(look.tasks, "groups"):
        name = str(group.get("site") or group.get("definition") or group.get("coroutine") or "?")
        sites.setdefault(name, _Site()).add(group)
    return sites
