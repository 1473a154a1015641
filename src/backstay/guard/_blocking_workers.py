"""`thread_workers`, and what it has in common with `process_workers`: functions that block.

A thread cannot be stopped, and a process only together with what it holds. So a job
that is cancelled or out of time is over for its caller, and its *place* is not free
before the function returns: otherwise ten calls that hang would be twenty a minute
later, and a thousand in an hour. How many places are kept like that is a number of its
own in the statistics ("overrunning").
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast

from backstay.guard._job import Call, Job, JobRecord
from backstay.guard._worker_core import WorkerCore
from backstay.guard._worker_settings import WorkerOptions
from backstay.sync._home import place_of

__all__ = ["BlockingWorkers", "Outside", "call_outside", "thread_workers"]

P = ParamSpec("P")
T = TypeVar("T")
Q = ParamSpec("Q")
R = TypeVar("R")

_MOST_THREADS = 4096  # the pool itself counts places; its executor only must not count fewer


class Outside(Protocol):
    """Where functions are run."""

    def start(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> asyncio.Future[Any]:
        """Begin a call; the future is done when it has really ended."""
        ...

    def cut(self) -> None:
        """End what runs, where that is possible."""
        ...

    async def shut_down(self, overrunning: int) -> None:
        """Start nothing more, and let go of what is idle."""
        ...


def call_outside(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a function where it is run."""
    try:
        return fn(*args, **kwargs)
    except StopIteration as error:  # no future takes it: on 3.11 the job would hang for ever
        raise RuntimeError(f"{fn!r} raised StopIteration") from error


class _Threads:
    """Functions run in threads, which see the values of whoever handed the job over."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix=name)

    def start(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> asyncio.Future[Any]:
        work = functools.partial(copy_context().run, call_outside, fn, args, kwargs)
        loop: Any = asyncio.get_running_loop()
        return cast("asyncio.Future[Any]", loop.run_in_executor(self._executor, work))

    def cut(self) -> None:
        pass  # a thread runs on

    async def shut_down(self, overrunning: int) -> None:
        # Idle threads end at once; one that is at work would hold up the loop.
        self._executor.shutdown(wait=not overrunning, cancel_futures=True)


class BlockingWorkers(WorkerCore[P, T]):
    """Runs plain functions on a fixed number of threads or processes.

    Made by `thread_workers` and `process_workers`; it is used as a `WorkerPool` is.

    Cancelled: as for `WorkerPool`, but a function that has begun runs on in its place.
    """

    __slots__ = ("_outside",)

    _outside: Outside

    def __init__(self, fn: Callable[..., Any] | None, options: WorkerOptions) -> None:
        """Use `thread_workers` or `process_workers`."""
        _check_plain(fn)
        super().__init__(fn, options)

    async def _work(self, job: Job[Any]) -> Any:
        call = job.forget_call()
        outside = job._outside = self._outside.start(call.fn, call.args, call.kwargs)
        outside.add_done_callback(lambda _: self._returned(job))
        await asyncio.wait([outside])  # not the future itself: a cancel must not reach it
        return outside.result()

    def _returned(self, job: Job[Any]) -> None:
        """A function has returned; if nobody waits for it any more its place is free now."""
        if job._abandoned:
            assert job._outside is not None
            job._outside.exception()  # whoever wanted to know is gone
            job._abandoned = False
            self._free(job)

    def _cut(self, why: str) -> tuple[JobRecord, ...]:
        records = super()._cut(why)
        self._outside.cut()
        return records

    async def _shut_down(self) -> None:
        for job in self._alive.values():  # nobody but overrunning ones; they were named in the log
            job._abandoned, job._left = False, True
            if job._outside is not None:
                job._outside.cancel()  # or the thread would call into a loop that may be closed
        await self._outside.shut_down(self._overrunning())

    def note_death(self) -> None:
        """Count a process that died."""
        self._died += 1

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Job[T]]:
        """Hand a job over; see `WorkerPool.submit`."""
        return self._hand_over_in_turn(self._own_call(args, kwargs, sys._getframe(1)))

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Hand a job over and return its result.

        Cancelled: the job is over; a function that has begun keeps its place until it returns.
        """
        call = self._own_call(args, kwargs, sys._getframe(1))
        return await self._attend(await self._hand_over_in_turn(call))

    async def call(self, fn: Callable[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> R:
        """Run any plain function as a job and return its result; as `run`."""
        _check_plain(fn)
        call = Call(fn, args, kwargs, place_of(sys._getframe(1)))
        return cast("R", await self._attend(await self._hand_over_in_turn(call)))

    def __call__(self, fn: Callable[Q, R]) -> Callable[Q, Awaitable[R]]:
        """Turn a plain function into an async one whose calls are jobs.

        For processes the function must be importable under its own name, so write
        ``resized = pool(resize)`` and do not use it as a decorator.
        """
        _check_plain(fn)

        @functools.wraps(fn)
        async def job(*args: Q.args, **kwargs: Q.kwargs) -> R:
            return await self.call(fn, *args, **kwargs)

        return job


def _check_plain(fn: Callable[..., Any] | None) -> None:
    if iscoroutinefunction(fn):
        raise TypeError(
            f"threads and processes run plain functions, and {fn!r} is async: use WorkerPool for it"
        )


def thread_workers(
    fn: Callable[P, T] | None = None, **options: Unpack[WorkerOptions]
) -> BlockingWorkers[P, T]:
    """Return a pool of threads for a function that blocks: a driver without asyncio, files, C code.

    ::

        async with thread_workers(parse, workers=4, deadline=5.0) as parsers:
            document = await parsers.run(path)

    A job sees the values of whoever handed it over, and its deadline by `remaining()`, which it
    had better hand on to what it calls.

    Args:
        fn: what a job does; None to hand a function over with each.
        options: see `WorkerOptions`.

    Raises:
        TypeError: the function is async.
        ValueError: a number is out of range, or there is no such word.

    Cost: a task and two changes of thread a job.
    """
    pool: BlockingWorkers[P, T] = BlockingWorkers(fn, options)
    pool._outside = _Threads(pool.name)
    return pool
