"""Who waits for whom, read from a living loop; only what is evident, never a guess.

A wait has an edge to a task in these cases and in no other:

* It awaits a task, a shielded one, or several (`gather`, `wait`, a task group, a scope).
* It waits for a primitive that notes who holds it: `Mutex`, `RWMutex`, `Pool`, `anyio.Lock`.
* It waits for an `asyncio.Lock`, for places of a semaphore that knows how many it has
  (`Semaphore`, `asyncio.BoundedSemaphore`) or for a connection of an asyncpg pool, and
  every holder is *in the block*: a suspended call inside ``async with lock:`` keeps the
  block's exit at hand, and the garbage collector sees it there. Who took the lock by a
  bare `acquire()` is not seen, and then nobody is accused. An `asyncio.Semaphore` does
  not know its own size.

Of several awaited tasks each one may end the wait, by failing; so do the holders of a
semaphore, by giving a place back. Of the readers in front of a writer all must leave.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any

from backstay.guard import Pool
from backstay.leak._rings import Wait
from backstay.leak._trial_deletion import awaited_by
from backstay.sync import Mutex, Places, RWMutex, Semaphore
from backstay.tasks import Scope
from backstay.tasks._await_chain import code_names, is_running, kind_of, walk
from backstay.tasks._wait_details import shielded

__all__ = ["WaitGraph"]

AnyTask = asyncio.Task[Any]

_MOST_FOLLOWED = 4_000  # tasks read in one look, those that were only met as holders included
_STRIDE = 64
_MOST_AWAITED = 1_000  # tasks that one task waits for; a larger group is not looked through


class WaitGraph:
    """One look at who waits for whom; holds tasks, so it must not outlive the call that made it.

    Attributes:
        waits: by id of a task, whom it waits for.
        tasks: by id, every task that was read or met.
        contended: ids of those that wait for what another one has, and not for another one's end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tasks: Iterable[AnyTask],
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        """Read `tasks`, and whoever holds them up.

        Args:
            loop: theirs; those of other loops are not looked into.
            tasks: where to begin.
            breathe: called now and then, so that others may run.

        Cost: 5 to 15 microseconds a task.
        """
        self.loop = loop
        self.waits: dict[int, Wait] = {}
        self.tasks: dict[int, AnyTask] = {}
        self.contended: list[int] = []
        self._futures: dict[int, Any] = {}  # what each waits for
        self._calls: dict[int, list[Any]] = {}  # the suspended calls of each
        self._blocks: dict[int, list[tuple[int, int]]] = {}  # by primitive: who is in its block
        self._released: set[tuple[int, int]] = (
            set()
        )  # who has let a lock go, to wait for a condition
        for number, task in enumerate(tasks):
            if not number % _STRIDE:
                breathe()
            self._read(task)
        todo = list(self._futures)
        while todo and len(self.tasks) < _MOST_FOLLOWED:
            before = len(self._futures)
            for key in todo:
                self._resolve(key)
            for wait in [self.waits[key] for key in todo if key in self.waits]:
                for holder in wait.on:
                    self._read(self.tasks[holder])
            todo = list(self._futures)[before:]

    def signature(self, key: int) -> tuple[int, frozenset[int]]:
        """Return what tells whether a task still waits for the very same thing."""
        wait = self.waits.get(key)
        return id(self._futures.get(key)), frozenset(wait.on if wait else ())

    # -- what each task is in the middle of -----------------------------------------

    def _read(self, task: AnyTask) -> None:
        key = id(task)
        self.tasks[key] = task
        future = None if key in self._futures else awaited_by(task, self.loop)
        if future is None:
            return  # read before, or able to go on by itself
        links = walk(task).links
        if not links or is_running(links[0]):
            return
        self._futures[key] = future
        self._calls[key] = links
        for place, link in enumerate(links):
            inner = links[place + 1] if place + 1 < len(links) else None
            self._note_blocks(key, link, inner)

    def _note_blocks(self, key: int, link: Any, inner: Any) -> None:
        """Note whose blocks a call is inside of; `inner` is the call that it awaits."""
        for thing in gc.get_referents(link):
            kind = kind_of(thing)
            if kind is asyncio.Condition and _name(link) == _CONDITION_WAIT:
                self._released.add((key, id(thing._lock)))
            if kind is not MethodType or kind_of(thing.__func__) is not FunctionType:
                continue
            entered: Any = thing.__self__
            primitive, places = _behind(entered)
            if primitive is None or thing.__func__.__name__ != "__aexit__":
                continue
            if _is_entering(inner, entered):
                inner = None  # of two exits at hand, one belongs to the block that is being entered
            else:
                self._blocks.setdefault(id(primitive), []).append((key, places))

    # -- whom it waits for -----------------------------------------------------------

    def _resolve(self, key: int) -> None:
        future, links = self._futures[key], self._calls[key]
        joined = self._awaited(future)
        found = joined or self._of_call(links, future)
        if found is None:
            return
        tasks, any_frees = found
        if not 0 < len(tasks) <= _MOST_AWAITED:
            return
        for task in tasks:
            self.tasks.setdefault(id(task), task)
        self.waits[key] = Wait(tuple(id(task) for task in tasks), any_frees)
        if joined is None and _name(links[-1]) not in _JOINS:
            self.contended.append(key)

    def _awaited(self, future: Any) -> tuple[list[AnyTask], bool] | None:
        """Find the tasks behind the future itself."""
        kind = kind_of(future)
        if issubclass(kind, asyncio.Task):
            return [future], False
        if issubclass(kind, asyncio.tasks._GatheringFuture):  # type: ignore[attr-defined]  # no public name
            return _all_tasks_of(future._children)
        inner = shielded(future)
        return ([inner], False) if issubclass(kind_of(inner), asyncio.Task) else None

    def _of_call(self, links: list[Any], future: Any) -> _Holders:
        """Find the holders of what the innermost call waits for."""
        kind, read = _READERS.get(_name(links[-1]), (None, None))
        if kind is None or read is None:
            return None
        for thing in gc.get_referents(links[-1]):
            sort = kind_of(thing)
            if (sort.__name__ == kind) if isinstance(kind, str) else issubclass(sort, kind):
                return read(self, thing, future)
        return None

    def _in_block(self, primitive: Any) -> dict[int, int]:
        """Return who is inside a block of a primitive, by id, with how many places."""
        found: dict[int, int] = {}
        for key, places in self._blocks.get(id(primitive), ()):
            if (key, id(primitive)) not in self._released:
                found[key] = found.get(key, 0) + places
        return found

    def _of_lock(self, lock: Any, _: Any) -> _Holders:
        inside = self._in_block(lock)
        if not lock._locked or sum(inside.values()) != 1:
            return None
        return [self.tasks[key] for key in inside], False

    def _of_bounded(self, semaphore: Any, _: Any) -> _Holders:
        size = getattr(semaphore, "_bound_value", None)
        inside = self._in_block(semaphore)
        if semaphore._value or sum(inside.values()) != size:
            return None
        return [self.tasks[key] for key in inside], True

    def _of_pool_queue(self, queue: Any, _: Any) -> _Holders:
        """Who has all that a pool has to lend, when the queue is a pool's."""
        inside = self._in_block(queue)
        if not inside or queue._queue or sum(inside.values()) != queue._maxsize:
            return None
        return [self.tasks[key] for key in inside], True

    def _of_semaphore(self, semaphore: Any, _: Any) -> _Holders:
        inside = self._in_block(semaphore)
        if sum(inside.values()) != semaphore._size - semaphore._free:
            return None
        return [self.tasks[key] for key in inside], True

    def _of_mutex(self, mutex: Any, _: Any) -> _Holders:
        owner = mutex._owner
        return ([owner], False) if issubclass(kind_of(owner), asyncio.Task) else None

    def _of_anyio_lock(self, lock: Any, _: Any) -> _Holders:
        owner = lock._owner_task
        return ([owner], False) if issubclass(kind_of(owner), asyncio.Task) else None

    def _of_rwmutex(self, mutex: Any, future: Any) -> _Holders:
        if mutex._writer is not None:
            return [mutex._writer], False
        writers = [entry[1] for entry in list(mutex._writer_line) if not entry[0].done()]
        reads = any(entry[0] is future for entry in list(mutex._reader_line))
        if reads:  # behind the writer who is the next
            return (writers[:1], False) if writers else None
        return (list(mutex._readers), False) if mutex._readers else None

    def _of_pool(self, pool: Any, _: Any) -> _Holders:
        held = list(pool._held.values())
        holders = [item._task and item._task() for item in held]
        lent = len(held) == pool._supply.total and not pool._idle and not pool._passing
        if not lent or not all(holders):
            return None
        return holders, True

    def _of_group(self, group: Any, _: Any) -> _Holders:
        return _all_tasks_of(group._tasks)

    def _of_scope(self, scope: Any, _: Any) -> _Holders:
        return _all_tasks_of(scope._children)

    def _of_set(self, futures: Any, _: Any) -> _Holders:
        return _all_tasks_of(futures)


_Holders = tuple[list[AnyTask], bool] | None

_Reader = Callable[[WaitGraph, Any, Any], _Holders]

# Calls that wait for the end of tasks, and not for something that these have.
_JOINS = frozenset(
    {
        ("asyncio.tasks", "_wait"),
        ("asyncio.taskgroups", "TaskGroup.__aexit__"),
        ("asyncio.taskgroups", "TaskGroup._aexit"),
        ("backstay.tasks._scope", "Scope._wait_for_children"),
    }
)

_CONDITION_WAIT = "asyncio.locks", "Condition.wait"

# The innermost call, the type of what it waits for (found among what the call refers to; by its name
# where the library may not be there), and how that tells its holders.
_READERS: Mapping[tuple[str, str], tuple[type[Any] | str, _Reader]] = {
    ("anyio._backends._asyncio", "Lock.acquire"): ("Lock", WaitGraph._of_anyio_lock),
    ("asyncio.locks", "Lock.acquire"): (asyncio.Lock, WaitGraph._of_lock),
    ("asyncio.locks", "Semaphore.acquire"): (asyncio.BoundedSemaphore, WaitGraph._of_bounded),
    ("asyncio.queues", "Queue.get"): (asyncio.Queue, WaitGraph._of_pool_queue),
    ("asyncio.tasks", "_wait"): (set, WaitGraph._of_set),
    ("asyncio.taskgroups", "TaskGroup.__aexit__"): (asyncio.TaskGroup, WaitGraph._of_group),
    ("asyncio.taskgroups", "TaskGroup._aexit"): (asyncio.TaskGroup, WaitGraph._of_group),
    ("backstay.sync._mutex", "Mutex._wait"): (Mutex, WaitGraph._of_mutex),
    ("backstay.sync._rwmutex", "RWMutex._wait_to_read"): (RWMutex, WaitGraph._of_rwmutex),
    ("backstay.sync._rwmutex", "RWMutex._wait_to_write"): (RWMutex, WaitGraph._of_rwmutex),
    ("backstay.sync._semaphore", "Semaphore.acquire"): (Semaphore, WaitGraph._of_semaphore),
    ("backstay.guard._pool", "Pool._wait"): (Pool, WaitGraph._of_pool),
    ("backstay.tasks._scope", "Scope._wait_for_children"): (Scope, WaitGraph._of_scope),
}


def _name(link: Any) -> tuple[str, str]:
    _, module, function = code_names(link)
    return module, function


def _behind(entered: Any) -> tuple[Any, int]:
    """Return the primitive that a block is of, and how many places it takes; None for others."""
    kind = kind_of(entered)
    if kind in (asyncio.Lock, asyncio.BoundedSemaphore, Semaphore):
        return entered, 1
    if kind is asyncio.Condition:
        return entered._lock, 1
    if kind is Places:
        return entered._semaphore, entered._count
    if kind.__name__ == "PoolAcquireContext" and kind.__module__ == "asyncpg.pool":
        return entered.pool._queue, 1  # of free connections; it has room for all that there are
    return None, 0


def _is_entering(inner: Any, primitive: Any) -> bool:
    """Tell whether a call is the entering of a block, which has its exit at hand already."""
    if inner is None:
        return False
    function = _name(inner)[1].rpartition(".")[2]
    return function in ("__aenter__", "acquire") and any(
        thing is primitive for thing in gc.get_referents(inner)
    )


def _all_tasks_of(futures: Any) -> _Holders:
    """Return the pending ones, if there are any and all of them are tasks."""
    pending = [one for one in list(futures) if not one.done()]
    if pending and all(issubclass(kind_of(one), asyncio.Task) for one in pending):
        return pending, True
    return None
