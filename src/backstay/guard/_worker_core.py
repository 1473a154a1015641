"""What all pools of workers have in common: places, a bounded line, and jobs that begin in order.

A job lives in a task of its own, which the pool's scope owns and which sees the values of
whoever handed the job over; what is fixed is how many of them are under way. So a job
that is cancelled or runs out of time takes no worker with it, and a dump shows each by name.

The scope lives in the block of the pool, and nothing outlives that block but functions
in threads, which nobody can end. The block itself is not inside of the scope: what is
started there belongs to whoever is around.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any, Generic, Literal, ParamSpec, Self, TypeAlias, TypeVar

from backstay import context as ambient
from backstay._base import GuardMoved, guard_moved
from backstay.errors import DeadlineExceeded, GuardMisuse, ScopeClosed, ShedError
from backstay.guard import _worker_refusals as refusals
from backstay.guard._guard import Guard, Mode
from backstay.guard._job import Call, Job, JobRecord
from backstay.guard._worker_settings import OnFull, WorkerOptions, WorkerSettings
from backstay.guard._worker_statistics import WorkerStatistics
from backstay.guard.rules.job_queue import JobQueue
from backstay.sync._durations import Durations
from backstay.sync._home import place_of, read_clock
from backstay.sync._wake_queue import Waiter, WaitLine, was_given
from backstay.tasks import DeadlineWheel, Scope, deadline_at
from backstay.tasks._interrupt import Interrupt
from backstay.tasks._owner import current_owner

__all__ = ["WorkerCore"]

P = ParamSpec("P")
T = TypeVar("T")

State: TypeAlias = Literal["new", "open", "closing", "closed"]

_LAST_CALL_S = 1.0  # how long a job that was cut may take to clean up before it is named

_log = logging.getLogger("backstay.workers")


class WorkerCore(Guard, Generic[P, T]):
    """The part that `WorkerPool` and `BlockingWorkers` share."""

    __slots__ = (
        "_alive",
        "_cancelled",
        "_died",
        "_drained",
        "_dropped",
        "_expired",
        "_failed",
        "_fn",
        "_inside",
        "_interrupt",
        "_jobs",
        "_promised",
        "_running",
        "_runs",
        "_scope",
        "_settings",
        "_state",
        "_submitted",
        "_submitters",
        "_succeeded",
        "_timed_out",
        "_waits",
        "_wheel",
    )

    kind = "workers"
    _kind = "worker pool"

    def __init__(self, fn: Callable[..., Any] | None, options: WorkerOptions) -> None:
        """See `WorkerPool`."""
        settings = WorkerSettings(**options)
        super().__init__(settings.name or str(getattr(fn, "__name__", "")), settings.mode)
        self._fn = fn
        self._settings = settings
        self._state: State = "new"
        self._scope: Scope | None = None  # owns the tasks that run jobs; there once it was entered
        self._interrupt: Interrupt  # of the task that runs the block
        self._wheel: DeadlineWheel | None = None
        self._jobs: JobQueue[Job[Any]] = JobQueue(settings.order)  # in line
        self._alive: dict[int, Job[Any]] = {}  # in line or in a place, by number
        # Invariants: `_running` places are taken, and `_inside` is that and who is in line. Nobody
        # is in line who could begin while a place is free; nobody waits for room while
        # `_inside + _promised` is less than places and line together.
        self._running = self._inside = 0
        self._promised = 0  # room that was given to callers who have not run yet
        self._submitters: WaitLine[Waiter] = WaitLine()
        self._drained: asyncio.Future[None] | None = None  # set when nobody is inside any more
        self._waits, self._runs = Durations(), Durations()
        self._submitted = self._succeeded = self._failed = self._timed_out = 0
        self._expired = self._cancelled = self._dropped = self._died = 0

    # -- its life ----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open it: from now on jobs are taken, and owned by a scope that lives in this block.

        Raises:
            GuardMisuse: it was entered before.
        """
        if self._state != "new":
            raise GuardMisuse(
                f"{self._title()} was entered before (it is {self._state}): it is used for one "
                f"block; make a new one for each"
            )
        loop = self._move_in()
        scope = Scope(self.name, kind="workers", on_error="collect")
        around = current_owner.get()
        await scope.__aenter__()
        current_owner.set(around)
        self._scope = scope
        self._interrupt = Interrupt(scope._host)
        self._wheel = DeadlineWheel(loop)
        self._state = "open"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Close it: finish what was taken within the budget, or cut it at once after an error.

        What is cut is named in the log.
        """
        scope = self._scope
        assert scope is not None
        struck = error
        swallowed = False
        try:
            if error is None:
                await self.close()
        except asyncio.CancelledError as cancel:
            struck = cancel
        try:
            if not isinstance(error, GeneratorExit):  # else: a closed coroutine may not wait
                late = await self._cut_and_wait()
                swallowed = late is not None and struck is not None
                struck = struck or late
            absorbs = await scope.__aexit__(
                None if struck is None else type(struck), struck, trace if struck is error else None
            )
            if struck is not error and struck is not None:
                raise struck
            return absorbs
        finally:
            if swallowed and not isinstance(struck, asyncio.CancelledError):
                self._interrupt.rearm()  # it strikes again behind the error that leaves
            for job in list(self._alive.values()):
                self._drop(job, "the pool is closed")  # of a coroutine that was closed
            self._state = "closed"
            await self._shut_down()
            del struck, error

    async def _cut_and_wait(self) -> asyncio.CancelledError | None:
        """Leave nothing under way to the scope, which would cancel it a second time.

        Returns:
            A cancel that came meanwhile.
        """
        struck: asyncio.CancelledError | None = None
        self._cut("its block is left")
        while tasks := [job._task for job in self._alive.values() if job._task is not None]:
            try:
                await asyncio.wait(tasks)
                await asyncio.sleep(0)  # their callbacks take them off the account
            except asyncio.CancelledError as cancel:
                self._interrupt.note(cancel)
                struck = cancel
        return struck

    async def close(self, *, drain: float | None = None) -> tuple[JobRecord, ...]:
        """Take no more jobs, finish those that were taken, and cut what is left after a while.

        Callers that wait for room are refused. A job that is cut in line fails with
        `ShedError`, one that is under way is cancelled.

        Args:
            drain: seconds to wait for jobs to finish by themselves; as given to the constructor
                when omitted.

        Returns:
            What had to be cut.

        Cancelled: no more jobs are taken; those that were taken go on.
        """
        if self._state == "new":
            self._state = "closed"
        self._stop_taking()
        await self._wait_drained(self._settings.drain if drain is None else drain)
        left = self._cut("the pool is closed")
        await self._wait_drained(_LAST_CALL_S)
        return left

    def _stop_taking(self) -> None:
        if self._state == "open":
            self._state = "closing"
            self._queue.wake_all(self._submitters, False)

    async def _wait_drained(self, seconds: float) -> None:
        if not self._inside or seconds <= 0:
            return
        if self._drained is None:
            assert self._loop is not None
            self._drained = self._loop.create_future()
        await asyncio.wait([self._drained], timeout=seconds)

    def _cut(self, why: str) -> tuple[JobRecord, ...]:
        """End all jobs, each once; return those that were there, which are also named in the log."""
        self._stop_taking()
        left = [job for job in self._alive.values() if job.state != "done" and not job.cut]
        records = tuple(job.record() for job in left)
        for record in records:
            _log.warning("%s leaves %s: %s", self._title(), record, why)
        for job in left:
            job.cut = True
            task = job._task
            if not self._drop(job, why) and task is not None and not task.cancelling():
                task.cancel(f"{self._title()}: {why}")
        return records

    def _drop(self, job: Job[Any], why: str) -> bool:
        """Let a job that is in line fail; tell whether it was."""
        if not self._leave_line(job):
            return False
        self._dropped += 1
        job._future.set_exception(self._ended_error(f"did not begin {job.name!r}, since {why}"))
        job.look_away()  # it was named in the log, so nobody has to look
        self._gone(job)
        return True

    async def _shut_down(self) -> None:
        """Let go of what jobs were run by."""

    # -- taking jobs -----------------------------------------------------------------

    def _own_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], frame: FrameType) -> Call:
        """Return the pool's own function with these arguments, or the function that is the first."""
        if self._fn is not None:
            return Call(self._fn, args, kwargs, place_of(frame))
        if not args or not callable(args[0]):
            raise refusals.no_function(self._title())
        return Call(args[0], args[1:], kwargs, place_of(frame))

    def _hand_over(self, call: Call) -> Job[Any] | None:
        """Take a job if there is room; None when its caller has to wait."""
        self._check_open(call.fn)
        if ambient.remaining() == 0.0:
            self._expired += 1
            self.refuse(refusals.caller_late(self._title(), self.name))
        if self._inside + self._promised >= self._settings.most or (
            self._submitters and self._submitters.first() is not None
        ):
            if self._settings.on_full == "wait" and not self._shadow:
                return None
            self._refuse_full()
        return self._take(call)

    async def _hand_over_in_turn(self, call: Call) -> Job[Any]:
        """Take a job, waiting for room if need be."""
        self._move_in()
        job = self._hand_over(call)
        if job is not None:
            return job
        waiter = self._waiter()
        self._submitters.append(waiter)
        try:
            given: bool = await waiter
        except BaseException:
            if not was_given(waiter):
                self._submitters.discard(waiter)
            elif waiter.result():
                self._promised -= 1
                self._let_in()
            raise
        if given:
            self._promised -= 1
        self._check_open(call.fn)
        return self._take(call)

    def _take(self, call: Call) -> Job[Any]:
        assert self._loop is not None
        try:
            of = self._settings.key
            key = None if of is None else of(*call.args, **call.kwargs)
        except BaseException:
            self._let_in()  # the room that was promised to us is not needed
            raise
        self._submitted += 1
        job: Job[Any] = Job(self, self._submitted, call, key, copy_context(), self._loop)
        self._set_due(job)
        self._inside += 1
        self._alive[job.number] = job
        job._place = self._jobs.put(job, key)
        self._begin_more()
        if job.state == "queued" and job.due is not None:
            assert self._wheel is not None
            job._timer = self._wheel.add(job, job.due)
        return job

    def _set_due(self, job: Job[Any]) -> None:
        if self._settings.deadline is not None:
            job.due, job.due_setter = job._joined_at + self._settings.deadline, self.name
        around = ambient.current()
        until = None if self._settings.detached else around.deadline
        if until is not None and (job.due is None or until < job.due):
            job.due, job.due_setter = until, around.deadline_setter or self.name

    def _let_in(self) -> None:
        """Give room to callers that wait for it."""
        while self._submitters and self._inside + self._promised < self._settings.most:
            if not self._queue.wake_one(self._submitters, True):
                return
            self._promised += 1

    def _check_open(self, fn: Callable[..., Any]) -> None:
        if self._state != "open":
            raise refusals.not_open(self._title(), self.name, self._state, fn)

    def _ended_error(self, what: str) -> ShedError:
        return refusals.ended(self._title(), self.name, self._state, what)

    def _refuse_full(self) -> None:
        settings = self._settings
        self.refuse(
            refusals.full(
                self._title(),
                self.name,
                self._running,
                len(self._jobs),
                settings.workers,
                settings.room,
            )
        )

    # -- running them ----------------------------------------------------------------

    async def _work(self, job: Job[Any]) -> Any:
        """Do what the job is about."""
        raise NotImplementedError

    def _begin_more(self) -> None:
        """Begin what can be begun."""
        while self._running < self._settings.workers and (found := self._jobs.take()) is not None:
            self._begin(found[0])

    def _begin(self, job: Job[Any]) -> None:
        scope, context = self._scope, job._context
        assert scope is not None
        assert context is not None
        at = read_clock.read()
        self._no_longer_in_line(job)
        if job.due is not None and at >= job.due:
            self._expire(job, at)
            self._jobs.ended(job.key)
            return
        self._running += 1  # before it is started: an eager task runs now, and may hand jobs over
        try:
            # In the values of whoever handed it over; the scope puts its own name and deadline in.
            task = context.run(scope.go, self._run, job)
        except ScopeClosed:  # cut from outside: the block is about to be left
            self._dropped += 1
            job._future.set_exception(self._ended_error(f"could not begin {job.name!r}"))
            self._free(job)
            return
        job._began_at = at
        self._waits.record(at - job._joined_at)
        job._task = task
        # Not in the context of whoever freed the place, which would live as long as the job.
        task.add_done_callback(lambda _: self._on_end(job), context=context)

    async def _run(self, job: Job[Any]) -> None:
        """Run a job in its own task."""
        try:
            if job.due is None:
                value = await self._work(job)
            else:
                async with deadline_at(job.due, name=job.due_setter):
                    value = await self._work(job)
        except Exception as error:
            self._failed += 1
            if isinstance(error, DeadlineExceeded) and error.scope == job.due_setter:
                self._timed_out += 1
            job._future.set_exception(error)
        else:
            self._succeeded += 1
            job._future.set_result(value)
        finally:
            del job  # an error holds this frame, and must not hold the job that holds it

    def _on_end(self, job: Job[Any]) -> None:
        """Its task has ended, whether it ever ran or not."""
        job._task = None
        if not job.done():
            self._cancelled += 1
            job._future.cancel()
        assert job._began_at is not None
        self._runs.record(read_clock.read() - job._began_at)
        if job.state == "overrunning":
            job._abandoned = True
        else:
            self._free(job)

    def _free(self, job: Job[Any]) -> None:
        """A place is free: nothing runs in it any more."""
        self._running -= 1
        self._jobs.ended(job.key)
        self._gone(job)
        self._begin_more()

    def _leave_line(self, job: Job[Any]) -> bool:
        """Take a job out of the line that is not to begin; tell whether it was there."""
        if job._place is None or not self._jobs.drop(job._place):
            return False
        self._no_longer_in_line(job)
        return True

    def _no_longer_in_line(self, job: Job[Any]) -> None:
        job._place = None
        if job._timer is not None:
            job._timer.cancel()
            job._timer = None

    def _gone(self, job: Job[Any]) -> None:
        """A job is neither in line nor in a place any more."""
        job.forget()
        del self._alive[job.number]
        self._inside -= 1
        if self._submitters:
            self._let_in()
        if not self._inside and self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    # -- ending them early -------------------------------------------------------------

    def cancel_job(self, job: Job[Any]) -> bool:
        """End a job; see `Job.cancel`."""
        if self._leave_line(job):
            self._cancelled += 1
            job._future.cancel()
            self._gone(job)
            self._begin_more()  # of the same key there may be one that can begin now
            return True
        return job._task is not None and not job.done() and job._task.cancel("Job.cancel()")

    def expire_job(self, job: Job[Any]) -> None:
        """The deadline of a job has passed while it was in line."""
        if self._leave_line(job):
            self._expire(job, read_clock.read())
            self._begin_more()

    def _expire(self, job: Job[Any], at: float) -> None:
        self._expired += 1
        busy = f"{self._running} of {self._settings.workers}"
        waited = at - job._joined_at
        job._future.set_exception(
            refusals.in_line_too_long(
                self._title(), self.name, job.name, waited, job.due_setter, busy
            )
        )
        self._gone(job)

    async def _attend(self, job: Job[T]) -> T:
        """Return the result of a job that is the caller's alone: it ends with its caller.

        Cancelled: the job is cancelled, too, and has ended before the cancel goes on; only a
        function in a thread or process may still run.
        """
        try:
            return await job
        except asyncio.CancelledError as struck:
            if job.done():
                job.look_away()  # the caller has left: nobody will
                raise
            job.cancel()
            raise struck from await job.wait_ended()
        except GeneratorExit:  # the caller's coroutine is closed, and may not wait
            job.cancel()
            raise

    # -- looking after it ----------------------------------------------------------------

    def update(
        self,
        *,
        workers: int | None = None,
        queue: int | None = None,
        deadline: float | None = None,
        on_full: OnFull | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change settings while it works.

        More workers begin what is in line at once; with fewer, what is under way finishes first.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        asked = {"workers": workers, "queue": queue, "deadline": deadline, "on_full": on_full}
        changes: Any = {what: value for what, value in asked.items() if value is not None}
        settings = replace(self._settings, **changes)
        super().update(mode=mode)
        before = self._settings_in_words()
        self._settings = settings
        if self._state in ("open", "closing") and self._can_wake("update()"):
            self._begin_more()
            self._let_in()
        if guard_moved and (after := self._settings_in_words()) != before:
            guard_moved.emit(GuardMoved(self.name, self.kind, before, after, "update()"))

    def _settings_in_words(self) -> str:
        now = self._settings
        return (
            f"workers={now.workers} queue={now.room} deadline={now.deadline} on_full={now.on_full} "
            f"mode={self.mode}"
        )

    def jobs(self) -> tuple[JobRecord, ...]:
        """Return what is in line and under way, the oldest first."""
        return tuple(job.record() for job in list(self._alive.values()))

    def _overrunning(self) -> int:
        return sum(job.state == "overrunning" for job in self._alive.values())

    def statistics(self) -> WorkerStatistics:
        """Return how it is doing."""
        return WorkerStatistics(
            name=self.name,
            workers=self._settings.workers,
            running=self._running,
            overrunning=self._overrunning(),
            queue=self._settings.room,
            queued=len(self._jobs),
            submitting=self._submitters.waiting,
            submitted=self._submitted,
            succeeded=self._succeeded,
            failed=self._failed,
            timed_out=self._timed_out,
            expired=self._expired,
            cancelled=self._cancelled,
            dropped=self._dropped,
            rejected=self._rejected,
            died=self._died,
            wait=self._waits.spread(),
            run=self._runs.spread(),
        )

    def _in_words(self) -> str:
        return f"{self.name!r} {self._running} of {self._settings.workers} busy, {len(self._jobs)} in line"

    def __repr__(self) -> str:
        """Show the name, how many workers are busy, and how many jobs are in line."""
        return (
            f"<{type(self).__name__} {self.name!r} {self._state} {self._running} of {self._settings.workers} "
            f"busy, {len(self._jobs)} in line>"
        )

    def _in_use(self) -> bool:
        return self._state in ("open", "closing")

    def _reset(self) -> None:
        self._state = "closed"
        self._submitters = WaitLine()
        self._jobs = JobQueue(self._settings.order)
        self._alive.clear()
        self._running = self._inside = self._promised = 0
