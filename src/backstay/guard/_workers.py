"""`WorkerPool`: so many jobs at once, a line that is bounded, and an end that is bounded, too."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, Unpack, cast, overload

from backstay.guard._call_around import call_around
from backstay.guard._job import Call, Job
from backstay.guard._worker_core import WorkerCore
from backstay.guard._worker_settings import WorkerOptions
from backstay.sync._home import place_of

__all__ = ["WorkerPool"]

P = ParamSpec("P")
T = TypeVar("T")
Q = ParamSpec("Q")
R = TypeVar("R")


class WorkerPool(WorkerCore[P, T]):
    """Runs jobs on a fixed number of workers, and lets those who hand over too many wait.

    ::

        async with WorkerPool(make_thumbnail, workers=8, queue=64, deadline=30.0) as thumbnails:
            job = await thumbnails.submit(image)       # waits while the line is full
            ...
            thumbnail = await job

    A job sees the values and the deadline of whoever handed it over. With `key`, jobs of
    one key run one after another in the order in which they came.

    It is a guard, too: ``await pool.call(fn, *args)`` and ``@pool`` run any async function as a
    job, and end it with its caller.

    Cancelled: see `submit`, `run` and `Job`. When the block is cancelled, all jobs are cancelled
    and waited for.

    Cost: a job is a task, and a future for its result.
    """

    __slots__ = ()

    @overload
    def __init__(
        self: WorkerPool[..., Any], fn: None = None, **options: Unpack[WorkerOptions]
    ) -> None: ...

    @overload
    def __init__(self, fn: Callable[P, Awaitable[T]], **options: Unpack[WorkerOptions]) -> None: ...

    def __init__(
        self, fn: Callable[..., Awaitable[Any]] | None = None, **options: Unpack[WorkerOptions]
    ) -> None:
        """Describe it; it works from ``async with`` on.

        Args:
            fn: what a job does; None to hand a function over with each.
            options: see `WorkerOptions`.

        Raises:
            ValueError: a number is out of range, or there is no such word.
        """
        super().__init__(fn, options)

    async def _work(self, job: Job[Any]) -> Any:
        call = job.forget_call()
        return await call.fn(*call.args, **call.kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Job[T]]:
        """Hand a job over: the function's arguments, or the function and its arguments.

        Returns:
            Its handle, once there is room for it.

        Raises:
            FullError: there is no room, and callers are not to wait.
            ExpiredError: the caller's deadline has passed.
            ShedError: the pool is closing.
            GuardMisuse: it is not open yet.

        Cancelled: nothing was handed over.
        """
        return self._hand_over_in_turn(self._own_call(args, kwargs, sys._getframe(1)))

    def submit_nowait(self, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Hand a job over at once, or not at all.

        Raises:
            FullError: there is no room.
            ExpiredError, ShedError, GuardMisuse: see `submit`.
        """
        self._move_in()
        call = self._own_call(args, kwargs, sys._getframe(1))
        job = self._hand_over(call)
        if job is None:
            self._refuse_full()
            return self._take(call)
        return job

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Hand a job over and return its result.

        Raises:
            Exception: the job's own, and those of `submit`.

        Cancelled: the job is cancelled, too, and has ended.
        """
        call = self._own_call(args, kwargs, sys._getframe(1))
        return await self._attend(await self._hand_over_in_turn(call))

    async def call(self, fn: Callable[Q, Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs) -> R:
        """Run any async function as a job and return its result; as `run`."""
        call = Call(fn, args, kwargs, place_of(sys._getframe(1)))
        return cast("R", await self._attend(await self._hand_over_in_turn(call)))

    def __call__(self, fn: Callable[Q, Awaitable[R]]) -> Callable[Q, Awaitable[R]]:
        """Let each call of an async function be a job; signature and types stay."""
        return call_around(self.call, fn)
