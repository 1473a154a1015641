"""Tasks that were collected while pending: nobody held them, so nobody will finish them.

The event loop holds its tasks weakly. One that waits for something which only
it refers to is garbage like any other, and asyncio says so when it is too late:
"Task was destroyed but it is pending!", one line in a log, without the line of
code that started it. That line stands on the task's own card, so it is enough
to be there when the message passes by: in the exception handler of the loop.

Why there, and not in a `__del__` of our tasks: asyncio's own finalizer asks the
handler for nobody but the lost, while a `__del__` in Python would be run for
every task of the program.

Being polite means: whoever handled such messages before still gets each of them,
unchanged and first of all; what is kept are words and numbers, of a bounded
number of lines; and since a finalizer may run anywhere, at any moment and in any
thread, nothing here waits or raises. What they waited for cannot be told any more:
their coroutines are older than they are, and so are closed before them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backstay._base import now
from backstay.tasks._await_chain import kind_of
from backstay.tasks._spawn_site import SpawnSite, resolve_site
from backstay.tasks._tracked_task import card_of

__all__ = ["LostAndFound", "LostTasks"]

Loop = asyncio.AbstractEventLoop
Handler = Callable[[Loop, dict[str, Any]], object]

_MESSAGE = "Task was destroyed but it is pending!"  # of asyncio, since 3.4
_MOST_SITES = 256
_MOST_TRACES = 5
_MOST_ARRIVALS = 1_000  # not counted yet, since somebody was reading the counts
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class LostTasks:
    """Tasks of one line that were collected before they had ended."""

    site: SpawnSite | None  # None: untracked, or started by a bare callback of the loop
    coroutine: str  # qualified name of the coroutine function
    definition: str  # "file:line" where that function is defined; "" when unknown
    count: int
    first_at: float  # seconds on the clock of now()
    last_at: float
    task_name: str  # of the last one
    owner: str  # "request POST /orders", of the last one; "" without one
    age: float | None  # of the oldest, seconds, when it was lost
    trace_ids: tuple[str, ...]  # of the first ones that had any


@dataclass(slots=True)
class _Row:
    """The same while it grows."""

    site: SpawnSite | None
    definition: str
    first_at: float
    count: int = 0
    last_at: float = 0.0
    coroutine: str = ""
    task_name: str = ""
    owner: str = ""
    age: float | None = None
    trace_ids: dict[str, None] = field(default_factory=dict[str, None])


class _Arrival(NamedTuple):
    """One lost task, in words and numbers."""

    site: SpawnSite | None
    definition: str
    at: float
    coroutine: str
    task_name: str
    owner: str
    trace_id: str | None
    age: float | None


class LostAndFound:
    """Counts the lost tasks of one loop, by the line that started them.

    Cost: nothing for a task that ends; some 30 microseconds for one that is lost.

    Attributes:
        handler: stands in the loop as its exception handler, and calls the one before.
    """

    def __init__(self, loop: Loop) -> None:
        """Prepare to stand before the loop's present exception handler."""
        self._previous: Handler | None = loop.get_exception_handler()
        self._rows: dict[tuple[str, str], _Row] = {}
        self.left_out = 0  # lost tasks of further lines, for which there was no room
        # A finalizer may strike in a thread that holds any lock, ours included. So it waits for none:
        # it leaves what it has here, and whoever gets the guard without waiting puts it in order.
        self._arrivals: deque[_Arrival] = deque(maxlen=_MOST_ARRIVALS)
        self._guard = threading.Lock()
        self.handler: Handler = self._handle

    def attach(self, loop: Loop) -> None:
        """Take the place of the loop's exception handler."""
        loop.set_exception_handler(self.handler)

    def detach(self, loop: Loop) -> None:
        """Restore the handler that was there before, unless somebody has chained upon us since."""
        if loop.get_exception_handler() is self.handler:
            loop.set_exception_handler(self._previous)

    def lost(self) -> list[LostTasks]:
        """Return what was lost so far, most tasks first; callable from any thread."""
        if not self._guard.acquire(timeout=_PATIENCE_S):
            return []  # called from within a finalizer that struck while we were at it
        try:
            self._sort()
            found = [
                LostTasks(
                    site=row.site,
                    coroutine=row.coroutine,
                    definition=row.definition,
                    count=row.count,
                    first_at=row.first_at,
                    last_at=row.last_at,
                    task_name=row.task_name,
                    owner=row.owner,
                    age=row.age,
                    trace_ids=tuple(row.trace_ids),
                )
                for row in [*self._rows.values()]
            ]
        finally:
            self._guard.release()
        return sorted(found, key=lambda one: -one.count)

    def _handle(self, loop: Loop, context: dict[str, Any]) -> None:
        try:
            if self._previous is not None:
                self._previous(loop, context)
            else:
                loop.default_exception_handler(context)
        finally:
            if context.get("message") == _MESSAGE and not loop.is_closed():
                try:
                    self._note(context.get("task"))
                except Exception:
                    # We are inside of a finalizer: an error would be printed over the program's
                    # output, and the count of a diagnostic is not worth that.
                    pass

    def _note(self, task: Any) -> None:
        if not issubclass(kind_of(task), asyncio.Task):
            return  # somebody else's message in the same words
        coroutine: Any = task.get_coro()
        code: Any = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
        definition = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
        card = card_of(task)
        spawned, lasti, owner, born = card or (None, -1, None, None)
        at = now()
        scope: Any = owner  # the only kind of owner there is
        arrival = _Arrival(
            site=resolve_site(spawned, lasti),
            definition=definition,
            at=at,
            coroutine=str(getattr(coroutine, "__qualname__", type(coroutine).__name__)),
            task_name=task.get_name(),
            owner="" if scope is None else f"{scope.kind} {scope.name}",
            trace_id=None if scope is None else scope.trace_id,
            age=None if born is None else max(0.0, at - born),
        )
        self._arrivals.append(arrival)
        if self._guard.acquire(blocking=False):
            try:
                self._sort()
            finally:
                self._guard.release()

    def _sort(self) -> None:
        """Count what has arrived by its line; the guard is ours."""
        while self._arrivals:
            one = self._arrivals.popleft()
            row = self._row("" if one.site is None else str(one.site), one)
            if row is None:
                self.left_out += 1
                continue
            row.count += 1
            row.last_at = one.at
            row.coroutine, row.task_name = one.coroutine, one.task_name
            row.owner = one.owner or row.owner
            if one.age is not None:
                row.age = max(row.age or 0.0, one.age)
            if one.trace_id and len(row.trace_ids) < _MOST_TRACES:
                row.trace_ids[one.trace_id] = None

    def _row(self, place: str, one: _Arrival) -> _Row | None:
        key = place, one.definition
        row = self._rows.get(key)
        if row is None and len(self._rows) < _MOST_SITES:
            row = self._rows[key] = _Row(one.site, one.definition, one.at)
        return row
