"""A cap on the living tasks of one spawn site: the leak that would end the process is refused instead.

Counting at each spawn would cost every task of the program. Instead the living are counted now and
then, and only while a site is over its cap does the loop get a task factory that looks at who
spawns. So nothing is paid until something is wrong; the price is that a site may go beyond its
cap by what it starts between two counts.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import CodeType, FrameType
from typing import Any, Literal, cast

from backstay.errors import FullError
from backstay.leak._expected import unexpected
from backstay.leak._places import is_ours, relative
from backstay.tasks import live_tasks
from backstay.tasks._spawn_site import Machinery, resolve_site
from backstay.tasks._tracked_task import card_of

__all__ = ["CapStatistics", "SpawnCaps"]

Factory = Callable[..., "asyncio.Task[Any]"]
_Line = tuple[int, int]  # id of the spawning code, offset in it

_REOPEN = 0.9  # of its cap: below, a site may spawn again; the gap keeps it from flapping


@dataclass(frozen=True, slots=True)
class CapStatistics:
    """How the caps stand."""

    counts: int  # how often the living were counted
    closed: tuple[str, ...]  # sites that may not spawn now, "path:line"
    refused: int  # tasks that were not started, in all
    over: Mapping[str, int]  # living tasks of each site over its cap at the last count


class SpawnCaps:
    """Refuses new tasks of a line of code that has too many alive.

    ::

        caps = leak.SpawnCaps(10_000, sites={"shop/notify.py:*": 500})
        caps.start()

    Whoever spawns at a closed site gets a `FullError`, which says how many are alive and what to do;
    the coroutine is closed, so nothing warns. Tasks of Backstay, expected tasks, and
    tasks that no line started are never capped.
    """

    def __init__(
        self,
        most: int | None = None,
        *,
        sites: Mapping[str, int] | None = None,
        every: float = 1.0,
        mode: Literal["enforce", "shadow"] = "enforce",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Prepare; nothing is counted before `start()`.

        Args:
            most: cap of every site, >= 1; None for none.
            sites: caps of some, by pattern of "path:line"; the first that fits counts, before `most`.
            every: seconds between two counts, > 0.
            mode: "shadow" counts, tells who is over, and refuses nothing.
            loop: whose tasks; the running one when omitted.

        Raises:
            ValueError: a number is out of range, or there is no cap at all.
            RuntimeError: no loop was given and none is running.
        """
        self._sites = dict(sites or {})
        caps = [*self._sites.values(), *([most] if most is not None else [])]
        if not caps or min(caps) < 1:
            raise ValueError(
                f"caps are tasks of a site, at least 1, not {most!r} and {self._sites!r}"
            )
        if not every > 0:
            raise ValueError(f"every is seconds between two counts, more than 0, not {every!r}")
        self._most = most
        self._every = every
        self._mode = mode
        self._loop = loop or asyncio.get_running_loop()
        self._machinery = Machinery()
        self._closed: dict[_Line, tuple[str, int, int]] = {}  # site, alive, cap
        self._codes: list[CodeType] = []  # keeps the ids above from being used again
        self._over: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._previous: Factory | None = None
        self._factory: Factory | None = None
        self._counts = self._refused = 0

    def start(self) -> SpawnCaps:
        """Count now, and again and again until `stop()`."""
        if self._timer is None:
            self._turn()
        return self

    def stop(self) -> None:
        """Count no more, and let every site spawn."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_sites({}, [])

    def __enter__(self) -> SpawnCaps:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def statistics(self) -> CapStatistics:
        """Return how the caps stand."""
        closed = dict.fromkeys(site for site, _, _ in self._closed.values())
        return CapStatistics(self._counts, tuple(closed), self._refused, dict(self._over))

    # -- counting --------------------------------------------------------------------

    def _turn(self) -> None:
        self.count()
        # An empty context, or the timer would keep alive what whoever started us had in his.
        self._timer = self._loop.call_later(self._every, self._turn, context=Context())

    def count(self) -> None:
        """Count the living, and close and open sites; in the thread of the loop.

        Cost: about half a microsecond a task.
        """
        alive: dict[_Line, int] = {}
        codes: dict[int, CodeType] = {}
        for task in unexpected(live_tasks(self._loop)):
            code, lasti, _, _ = card_of(task) or (None, -1, None, 0.0)
            if code is not None:
                codes[id(code)] = code
                alive[id(code), lasti] = alive.get((id(code), lasti), 0) + 1
        self._counts += 1
        self._over = {}
        closed: dict[_Line, tuple[str, int, int]] = {}
        caps = [*self._sites.values(), *([self._most] if self._most else [])]
        for line, many in alive.items():
            if many < min(caps) * _REOPEN:
                continue
            found = resolve_site(codes[line[0]], line[1])
            if found is None or is_ours(found.file):
                continue
            site = relative(str(found))
            cap = self._cap_of(site)
            if cap is not None and many >= (cap * _REOPEN if line in self._closed else cap):
                closed[line] = site, many, cap
                self._over[site] = self._over.get(site, 0) + many
        self._close_sites(closed, [codes[line[0]] for line in closed])

    def _cap_of(self, site: str) -> int | None:
        for pattern, cap in self._sites.items():
            if fnmatchcase(site, pattern):
                return cap
        return self._most

    # -- refusing --------------------------------------------------------------------

    def _close_sites(
        self, closed: dict[_Line, tuple[str, int, int]], codes: list[CodeType]
    ) -> None:
        if self._mode == "shadow":
            closed, codes = {}, []
        self._closed, self._codes = closed, codes
        loop = self._loop
        if closed and self._factory is None:
            self._previous = cast("Factory | None", loop.get_task_factory())
            self._factory = self._refusing(self._previous)
            loop.set_task_factory(cast("Any", self._factory))
        elif not closed and loop.get_task_factory() is self._factory is not None:
            # Had somebody chained upon us, ours would stay in the chain, and refuse nobody.
            loop.set_task_factory(cast("Any", self._previous))
            self._factory = self._previous = None

    def _refusing(self, previous: Factory | None) -> Factory:
        def spawn(
            loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
        ) -> asyncio.Task[Any]:
            if self._closed:
                self._check(sys._getframe(1), coro)
            if previous is None:
                return asyncio.Task(coro, loop=loop, **options)
            return previous(loop, coro, **options)

        return spawn

    def _check(self, frame: FrameType, coro: Coroutine[Any, Any, Any]) -> None:
        caller = self._machinery.caller(frame)
        if caller is None:
            return
        found = self._closed.get((id(caller.f_code), caller.f_lasti))
        if found is None:
            return
        self._refused += 1
        coro.close()
        site, alive, cap = found
        raise FullError(
            f"{site} has {alive} tasks alive and may have {cap}: they do not end, so no more are "
            f"started; see 'backstay leaks' for what they wait for, give them a deadline or an "
            f"owner, or raise the cap",
            policy=site,
        )
