"""Executors and their jobs: what runs in their threads, and what waits for a free one, by function.

An executor is found by its workers, or by the loop whose default it is; its queue is written in C
and tells its length only, so the jobs in it are found among what the collector sees there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import functools
import gc
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Thread
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from weakref import ref

from backstay._base import now
from backstay.leak._keeper import named_code
from backstay.leak._places import is_ours, relative
from backstay.leak._thread_stacks import IN_C
from backstay.leak._timers import parts_of
from backstay.tasks._await_chain import kind_of
from backstay.tasks._tracked_task import card_of

__all__ = ["ExecutorSight", "JobSight", "Pools"]

# Queued jobs looked at one by one; of a longer queue the rest is told as a number.
_MOST_QUEUED = 1_000
_MOST_CALLBACKS = 8
_MOST_LAYERS = 8  # of partials around one function


@dataclass(frozen=True, slots=True)
class JobSight:
    """Jobs of one function in one state.

    Attributes:
        function: qualified name.
        site: where one of them stands, or where the function is defined, as "file:line"; "" when unknown.
        state: "running" or "queued".
        count: how many.
        age_s: of the queued job that is the longest in line, seconds: how old the task is that
            waits for it; None when unknown, and for those that run.
    """

    function: str
    site: str
    state: str
    count: int
    age_s: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "function": self.function,
            "site": relative(self.site),
            "state": self.state,
            "count": self.count,
            "age_s": None if self.age_s is None else round(self.age_s, 3),
        }


@dataclass(frozen=True, slots=True)
class ExecutorSight:
    """One `ThreadPoolExecutor`.

    Attributes:
        name: the prefix of its threads' names.
        default: whether it is the default executor of a loop.
        threads: how many it has; they are started as they are needed.
        max_threads: how many it may have; None when unknown.
        busy: how many run a job.
        queued: jobs that wait for a free thread.
        jobs: by function, those that run first.
    """

    name: str
    default: bool
    threads: int
    max_threads: int | None
    busy: int
    queued: int
    jobs: tuple[JobSight, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "default": self.default,
            "threads": self.threads,
            "max_threads": self.max_threads,
            "busy": self.busy,
            "queued": self.queued,
            "jobs": [job.to_json() for job in self.jobs],
        }


class _Pool:
    """One executor while it is looked at."""

    def __init__(self, queue: Any, name: str) -> None:
        self.queue = queue
        self.name = name
        self.threads = 0
        self.max_threads: int | None = None
        self.default = False
        self.running: dict[str, tuple[int, str]] = {}

    def know(self, executor: Any) -> None:
        self.name = executor._thread_name_prefix or self.name
        self.max_threads = executor._max_workers


class Pools:
    """The executors of a process; holds them, so it must not outlive the look."""

    def __init__(
        self, loops: Iterable[asyncio.AbstractEventLoop], threads: Iterable[Thread]
    ) -> None:
        """Find them."""
        self._by_queue: dict[int, _Pool] = {}
        self._by_thread: dict[int, _Pool] = {}
        queues = dict(concurrent.futures.thread._threads_queues)
        for thread in threads:
            queue = queues.get(thread)
            if queue is not None:
                self._add_worker(thread, queue)
        for loop in loops:
            for part in parts_of(loop):
                if issubclass(kind_of(part), ThreadPoolExecutor):
                    pool = self._of_queue(part._work_queue, "")
                    pool.know(part)
                    pool.default = True

    def _of_queue(self, queue: Any, name: str) -> _Pool:
        pool = self._by_queue.get(id(queue))
        if pool is None:
            pool = self._by_queue[id(queue)] = _Pool(queue, name)
        return pool

    def _add_worker(self, thread: Thread, queue: Any) -> None:
        pool = self._of_queue(queue, thread.name.rpartition("_")[0] or thread.name)
        pool.threads += 1
        self._by_thread[id(thread)] = pool
        for argument in getattr(thread, "_args", ()):
            executor = argument() if kind_of(argument) is ref else None
            if issubclass(kind_of(executor), ThreadPoolExecutor):
                pool.know(executor)

    def of(self, thread: Thread | None) -> _Pool | None:
        """Return the executor whose worker a thread is."""
        return None if thread is None else self._by_thread.get(id(thread))

    def note(self, pool: _Pool | None, job: str, site: str) -> None:
        """Count a job that runs."""
        if pool is not None:
            count, first = pool.running.get(job, (0, site))
            pool.running[job] = count + 1, first

    def sights(self) -> list[ExecutorSight]:
        """Return what was found, those with most jobs first."""
        made = [_sight(pool) for pool in self._by_queue.values()]
        return sorted(made, key=lambda one: (-one.busy - one.queued, one.name))


def _sight(pool: _Pool) -> ExecutorSight:
    jobs = [
        JobSight(function, site, "running", count, None)
        for function, (count, site) in pool.running.items()
    ]
    return ExecutorSight(
        name=pool.name,
        default=pool.default,
        threads=pool.threads,
        max_threads=pool.max_threads,
        busy=sum(job.count for job in jobs),
        queued=pool.queue.qsize(),
        jobs=(*_most_first(jobs), *_most_first(_queued(pool.queue))),
    )


def _most_first(jobs: Iterable[JobSight]) -> list[JobSight]:
    return sorted(jobs, key=lambda job: (-job.count, job.function))


# -- what waits in the queue -------------------------------------------------------


def _queued(queue: Any) -> list[JobSight]:
    """Count the jobs in a queue by function; the first of each is the longest in line."""
    counts: dict[tuple[str, str], int] = {}
    ages: dict[tuple[str, str], float | None] = {}
    for item in _items(queue):
        key = _named(item)
        if key not in counts:
            ages[key] = _age(item.future)
        counts[key] = counts.get(key, 0) + 1
    return [JobSight(*key, "queued", count, ages[key]) for key, count in counts.items()]


def _items(queue: Any) -> Iterator[Any]:
    """Yield the first jobs of a queue: a `SimpleQueue` shows them to the collector alone."""
    seen = 0
    for part in gc.get_referents(queue):
        inside = list(part) if kind_of(part) in (list, deque) else [part]
        for item in inside:
            if kind_of(item) is concurrent.futures.thread._WorkItem:
                yield item
                seen += 1
            if seen >= _MOST_QUEUED:
                return


def _named(item: Any) -> tuple[str, str]:
    """Name the function of a job and the line that defines it."""
    call: Any
    arguments: Any
    if hasattr(item, "fn"):
        call, arguments = item.fn, item.args
    else:  # since Python 3.14 they are one tuple
        call, arguments, _ = item.task
    for _ in range(_MOST_LAYERS):
        if issubclass(kind_of(call), functools.partial):
            call, arguments = call.func, call.args
        elif arguments and _hands_over(call):
            call, arguments = arguments[0], arguments[1:]
        else:
            break
    name, site = named_code(call)
    return (name, site) if name else (IN_C, "")


def _hands_over(call: Any) -> bool:
    """Tell whether a function does nothing but call its first argument."""
    kind = kind_of(call)
    if kind is BuiltinFunctionType:
        return bool(call.__qualname__ == "Context.run")
    function = call.__func__ if kind is MethodType else call
    return kind_of(function) is FunctionType and is_ours(function.__code__.co_filename)


def _age(future: Any) -> float | None:
    """Tell how old the task is that waits for a job."""
    for callback in list(future._done_callbacks)[:_MOST_CALLBACKS]:
        if kind_of(callback) is not FunctionType:
            continue
        names = callback.__code__.co_freevars
        if "destination" in names:  # the bridge that `asyncio.wrap_future` builds
            waited_for = callback.__closure__[names.index("destination")].cell_contents
            return _age_of_waiter(waited_for)
    return None


def _age_of_waiter(future: Any) -> float | None:
    todo = [one for one in gc.get_referents(future) if kind_of(one) is not FunctionType]
    for thing in todo:
        inside = list(thing)[:_MOST_CALLBACKS] if kind_of(thing) is list else [thing]
        for callback in inside:
            wakes = callback[0] if kind_of(callback) is tuple else callback
            for task in gc.get_referents(wakes):
                card = card_of(task) if issubclass(kind_of(task), asyncio.Task) else None
                if card is not None:
                    return max(0.0, now() - card[3])
    return None
