"""All tasks, counted into groups for the pages: taken seldom, kept a while, sorted as asked.

A page asks every other second, and a look at a hundred thousand tasks takes seconds; so a look
is kept for ten times as long as it took, and pages are cut from it. What is kept are strings and
numbers, and the addresses of the tasks, by which one can be found again while it lives.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from backstay._base import now, wall
from backstay.observe.dump import Sight, sights

__all__ = ["Family", "Survey", "Surveyor"]

_log = logging.getLogger("backstay.admin")

#: Seconds that a look is good for at least, and times what it took.
_FRESH_S: Final = 1.0
_FRESH_TIMES: Final = 10.0
#: Groups kept; those with the fewest tasks are told as a number.
_MOST_FAMILIES: Final = 5_000
#: Addresses kept, over all groups: 8 bytes each.
_MOST_ADDRESSES: Final = 1_000_000


@dataclass(slots=True)
class Family:
    """Tasks with one spawn site, owner, state and await site."""

    key: str
    site: str
    function: str
    coroutine: str
    owner_path: tuple[str, ...]
    kind: str
    state: str
    blocked_on: str  # what they wait for, without the numbers of each
    waits: str  # its kind, one word
    await_site: str
    count: int = 0
    age_min: float | None = None
    age_max: float | None = None
    ids: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, seen: Sight) -> None:
        """Count one more."""
        self.count += 1
        age = seen.age
        if age is not None:
            self.age_min = age if self.age_min is None else min(self.age_min, age)
            self.age_max = age if self.age_max is None else max(self.age_max, age)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "key": self.key,
            "count": self.count,
            "site": self.site,
            "function": self.function,
            "coroutine": self.coroutine,
            "owner": "/".join(self.owner_path),
            "kind": self.kind,
            "state": self.state,
            "blocked_on": self.blocked_on,
            "waits": self.waits,
            "await_site": self.await_site,
            "age_min_s": _rounded(self.age_min),
            "age_max_s": _rounded(self.age_max),
        }

    def has(self, words: Iterable[str]) -> bool:
        """Tell whether each of the words stands somewhere in it."""
        text = "\n".join(
            (
                self.site,
                self.function,
                self.coroutine,
                "/".join(self.owner_path),
                self.kind,
                self.state,
                self.blocked_on,
            )
        ).lower()
        return all(word in text for word in words)


@dataclass(slots=True)
class Survey:
    """One look.

    Attributes:
        taken_at: unix seconds.
        at: seconds on the clock of `now()`.
        cost_s: seconds it took.
        families: the groups, most tasks first.
        tasks: how many tasks were alive, those of left-out groups included.
        left_out: groups that did not fit.
        states: tasks by state.
        owners: tasks by the path of their owner.
    """

    taken_at: float
    at: float
    cost_s: float
    families: list[Family]
    tasks: int
    left_out: int
    states: Mapping[str, int]
    owners: Mapping[str, int]


class Surveyor:
    """Takes looks, one at a time, and hands out the last one while it is fresh."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self._taking = threading.Lock()
        self._last: Survey | None = None
        self._renewing = threading.Lock()

    def close(self) -> None:
        """Forget what was seen."""
        self._last = None

    def survey(self, *, fresh: bool = False) -> Survey:
        """Return a look that is fresh enough; whoever comes while one is taken waits for it.

        Args:
            fresh: not older than a second, whatever it costs.
        """
        last = self._last
        if last is not None and self._is_good(last, fresh):
            return last
        asked_at = now()
        with self._taking:
            last = self._last
            if last is not None and (last.at >= asked_at or self._is_good(last, fresh)):
                return last
            self._last = last = _look()
            return last

    def recent(self) -> Survey:
        """Return the last look, however old, and have a new one taken meanwhile when it is time.

        For whoever asks each second, and would rather have counts of now beside waits of some seconds ago
        than wait for both. Only the very first look is waited for.
        """
        last = self._last
        if last is None:
            return self.survey()
        if not self._is_good(last, False) and self._renewing.acquire(blocking=False):
            thread = threading.Thread(target=self._renew, name="backstay-survey", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process has as many threads as it may have, or ends
                self._renewing.release()
        return last

    def _renew(self) -> None:
        try:
            self.survey()
        except Exception:
            _log.exception("a look at the tasks failed; the next one may succeed")
        finally:
            self._renewing.release()

    def _is_good(self, last: Survey, fresh: bool) -> bool:
        patience = _FRESH_S if fresh else max(_FRESH_S, _FRESH_TIMES * last.cost_s)
        return now() - last.at < patience


def _look() -> Survey:
    began, taken_at = now(), wall()
    families: dict[tuple[object, ...], Family] = {}
    states: dict[str, int] = {}
    owners: dict[str, int] = {}
    kept = 0
    for seen in sights():
        what, path = seen.blocked_on, () if seen.owner is None else seen.owner.path
        place = seen.definition if seen.site is None else seen.site
        # Within one look, equal places and waits are one object.
        same = (id(place), seen.coroutine, path, seen.state, id(what))
        family = families.get(same)
        if family is None:
            waits = (what.kind, what.label, what.site) if what is not None else ("", "", "")
            key = (str(place), seen.coroutine, path, seen.state, waits)
            family = families[same] = Family(
                blake2b(repr(key).encode(), digest_size=8).hexdigest(),
                str(place),
                seen.site.function if seen.site is not None else seen.coroutine,
                seen.coroutine,
                path,
                seen.owner.kind if seen.owner is not None else "",
                seen.state,
                f"{what.label} at {what.site}" if what is not None else "",
                waits[0],
                waits[2],
            )
        family.add(seen)
        if kept < _MOST_ADDRESSES:
            kept += 1
            family.ids.append(id(seen.task))
        states[seen.state] = states.get(seen.state, 0) + 1
        owner = "/".join(path)
        owners[owner] = owners.get(owner, 0) + 1
    ranked = sorted(families.values(), key=lambda one: -one.count)
    return Survey(
        taken_at,
        now(),
        now() - began,
        ranked[:_MOST_FAMILIES],
        sum(states.values()),
        max(0, len(ranked) - _MOST_FAMILIES),
        states,
        owners,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
