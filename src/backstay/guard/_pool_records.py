"""What a pool notes of a resource and of who holds it, and what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Generic, TypeVar
from weakref import ReferenceType, ref

from backstay.guard.rules.pool_rule import ClosedBecause
from backstay.sync._durations import Spread
from backstay.sync._home import line_at
from backstay.tasks._owner import current_owner

__all__ = ["Holding", "Item", "PoolStatistics"]

T = TypeVar("T")

_scope_of = current_owner.get


@dataclass(frozen=True, slots=True)
class Holding:
    """A resource that is out.

    Attributes:
        what: the resource, as `repr` shows it.
        held_s: seconds since it was taken.
        task: the name of the task that took it.
        site: "file:line" where it was taken.
        owner: names from the root scope to the one in which it was taken.
        orphaned: the task or the scope has ended, so that nobody is left to give it back.
    """

    what: str
    held_s: float
    task: str
    site: str
    owner: tuple[str, ...]
    orphaned: bool

    def __str__(self) -> str:
        """Return it in words."""
        gone = ", which has ended" if self.orphaned else ""
        owner = f" of {' > '.join(self.owner)}" if self.owner else ""
        return f"{self.what}, taken {self.held_s:.3g} s ago at {self.site} by task {self.task!r}{owner}{gone}"


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """How a pool is doing; the words are those of Go's ``sql.DBStats`` where it has them.

    Attributes:
        name: its name.
        max_open: resources at a time.
        open: how many are open.
        in_use: how many are lent.
        idle: how many are not.
        opening: how many are being opened.
        waiting: callers in line.
        wait: how many had to wait (`count`) and for how long, those who gave up included.
        use: how long they were lent.
        closed: how many were closed, by why.
        rejected: callers refused because the line was full, or who waited for too long.
        timed_out: of these, who waited for too long.
        leaks: lent to tasks or scopes that have ended.
    """

    name: str
    max_open: int
    open: int
    in_use: int
    idle: int
    opening: int
    waiting: int
    wait: Spread
    use: Spread
    closed: Mapping[ClosedBecause, int]
    rejected: int
    timed_out: int
    leaks: int


class Item(Generic[T]):
    """A resource, its times in seconds on the clock of `backstay.now()`, and who holds it.

    It keeps neither task nor scope alive; names and lines are worked out when somebody asks.
    """

    __slots__ = (
        "_code",
        "_lasti",
        "_path",
        "_scope",
        "_task",
        "_task_name",
        "dies_at",
        "fresh_until",
        "held_since",
        "idle_since",
        "ready",
        "told",
        "value",
    )

    _code: CodeType
    _lasti: int
    _task: ReferenceType[asyncio.Task[Any]] | None
    _task_name: str
    _scope: ReferenceType[Any] | None
    _path: tuple[str, ...]

    def __init__(
        self, value: T, opened: float, dies_at: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Note a resource that was just opened."""
        self.value = value
        self.ready: asyncio.Future[T] = asyncio.Future(loop=loop)  # awaiting it takes no time
        self.ready.set_result(value)
        self.dies_at = dies_at
        self.idle_since = self.held_since = opened
        self.fresh_until = opened  # until then, while it is idle, it is lent without a thought
        self._task = None
        self.told = -1.0  # `held_since` of the holder whom the log has named

    def lend(self, now: float, task: asyncio.Task[Any] | None, frame: FrameType) -> None:
        """Note who takes it, where and when."""
        self.held_since = now
        self._code = frame.f_code
        self._lasti = frame.f_lasti
        if task is None:
            self._task, self._task_name = None, ""
        else:
            last = self._task  # often the same task; a new reference costs three times the look
            if last is None or last() is not task:
                self._task = ref(task)
                self._task_name = task.get_name()
        scope: Any = _scope_of()
        if scope is None:
            self._scope, self._path = None, ()
        else:
            self._scope, self._path = ref(scope), scope.path

    def holding(self, now: float) -> Holding:
        """Return what there is to tell while it is out."""
        task = None if self._task is None else self._task()
        gone = self._task is not None and (task is None or task.done())
        if self._scope is not None:
            scope = self._scope()
            gone = gone or scope is None or scope.state == "ended"
        site = line_at((self._code, self._lasti))
        return Holding(
            repr(self.value), now - self.held_since, self._task_name, site, self._path, gone
        )
