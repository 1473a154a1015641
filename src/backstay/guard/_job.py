"""`Job`: the handle of a piece of work that was handed to workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Hashable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from backstay.guard.rules.job_queue import Place
from backstay.sync._home import Place as CodePlace
from backstay.sync._home import line_at, read_clock

__all__ = ["Call", "Job", "JobOwner", "JobRecord", "JobState"]

T = TypeVar("T")

JobState: TypeAlias = Literal["queued", "running", "overrunning", "done"]
"""Overrunning: nobody waits for its result any more, and the thread or process works on it still."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job, described; it keeps nothing alive.

    Attributes:
        name: of the function, with the number of the job among those of its pool.
        state: "queued", "running", "overrunning" or "done".
        key: its key, as `repr` shows it; "" for none.
        site: "file:line" that handed it over.
        waited_s: seconds in line.
        ran_s: seconds since it began; 0.0 when it has not.
    """

    name: str
    state: JobState
    key: str
    site: str
    waited_s: float
    ran_s: float

    def __str__(self) -> str:
        """Say it in one line: ``job 'resize#7' of key 'a', running for 3.2 s (from app.py:12)``."""
        key = f" of key {self.key}" if self.key else ""
        seconds = self.waited_s if self.state == "queued" else self.ran_s
        return f"job {self.name!r}{key}, {self.state} for {seconds:.3g} s (from {self.site})"


class Call(NamedTuple):
    """What a job does, and the line that handed it over."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    site: CodePlace


class JobOwner(Protocol):
    """What a job asks of the pool that it belongs to."""

    def cancel_job(self, job: Job[Any]) -> bool:
        """End it; see `Job.cancel`."""
        ...

    def expire_job(self, job: Job[Any]) -> None:
        """Its deadline has passed while it was in line."""
        ...


class Job(Generic[T]):
    """Work that is in line, under way, or done; await it for the result.

    ::

        job = await thumbnails.submit(image)
        ...
        thumbnail = await job

    Any number of tasks may await it, any number of times. An error that nobody looks at is
    reported by the loop when the job is forgotten, as for a task.

    Cancelled: who awaits a job that has not begun, and is cancelled, takes the job along, unless
    somebody else awaits it, too. A job that has begun goes on; `cancel` ends it.

    Attributes:
        number: 1 for the first job of its pool.
        key: of which no two jobs are under way at a time; None for none.
        cut: whether the end of its pool has ended it.
        due: until when it must be done, seconds on the clock of `now()`; None for no such limit.
    """

    __slots__ = (
        "__weakref__",
        "_abandoned",
        "_awaited_by",
        "_began_at",
        "_call",
        "_context",
        "_future",
        "_joined_at",
        "_left",
        "_name",
        "_outside",
        "_owner",
        "_place",
        "_site",
        "_task",
        "_timer",
        "cut",
        "due",
        "due_setter",
        "key",
        "number",
    )

    def __init__(
        self,
        owner: JobOwner,
        number: int,
        call: Call,
        key: Hashable | None,
        context: Context,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Made by the pool."""
        self._owner = owner
        self.number = number
        self._name = str(getattr(call.fn, "__qualname__", type(call.fn).__qualname__))
        self.key = key
        self._site = call.site
        # What is to be called. None once it has begun or never will, so that who keeps the
        # handle keeps neither arguments nor the values of whoever handed them over.
        self._call: Call | None = call
        self._context: Context | None = context
        self.cut = False
        self.due: float | None = None
        self.due_setter = ""
        self._future: asyncio.Future[T] = loop.create_future()
        self._awaited_by = 0
        self._joined_at = read_clock.read()
        self._began_at: float | None = None
        self._place: Place[Job[Any]] | None = None  # in line; None before and after
        self._timer: Any = None  # strikes it in line when it is due
        self._task: asyncio.Task[None] | None = None  # that runs it
        self._outside: asyncio.Future[Any] | None = None  # what a thread or process does for it
        self._left = False  # it ran on when its pool was closed, and nobody will know for how long
        self._abandoned = False  # it is over, and what is outside goes on and keeps the place

    @property
    def name(self) -> str:
        """The function's name and the number of the job: ``resize#7``."""
        return f"{self._name.rpartition('.')[2]}#{self.number}"

    @property
    def state(self) -> JobState:
        """How far it is."""
        if self._place is not None:
            return "queued"
        if not self._future.done():
            return "running"
        if self._left or (self._outside is not None and not self._outside.done()):
            return "overrunning"
        return "done"

    def done(self) -> bool:
        """Whether it has a result, failed, or was cancelled."""
        return self._future.done()

    def result(self) -> T:
        """Return the result of a job that is done.

        Raises:
            Exception: the job's own, or why it never began.
            CancelledError: it was cancelled.
            InvalidStateError: it is not done.
        """
        return self._future.result()

    def cancel(self) -> bool:
        """Cancel it: one that has not begun never does, one that is under way is interrupted.

        A function that runs in a thread or a process cannot be interrupted. The job is over
        then, and its place is taken until the function returns.

        Returns:
            False when it was done already.
        """
        return self._owner.cancel_job(self)

    def strike_deadline(self) -> None:
        """The deadline has come while it was in line; for the wheel."""
        self._owner.expire_job(self)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the result."""
        future = self._future
        if not future.done():
            # Not the future itself: a cancel of who awaits it would be a cancel of the job.
            yield from self._wait()
        return future.result()

    def _wait(self) -> Generator[Any, None, None]:
        future = self._future
        waiter = future.get_loop().create_future()

        def wake(_: object) -> None:
            if not waiter.done():
                waiter.set_result(None)

        future.add_done_callback(wake)
        self._awaited_by += 1
        try:
            yield from waiter
        except BaseException:
            future.remove_done_callback(wake)
            if self._awaited_by == 1 and self._place is not None:
                self.cancel()
            raise
        finally:
            self._awaited_by -= 1

    def look_away(self) -> BaseException | None:
        """Return what it ended with, which counts as having been looked at; None for no error."""
        return None if self._future.cancelled() else self._future.exception()

    async def wait_ended(self) -> BaseException | None:
        """Wait until it is done, also when cancelled meanwhile; return what it ended with."""
        while not self._future.done():
            try:
                await asyncio.wait([self._future])
            except asyncio.CancelledError:
                pass  # the caller is on the way out with a cancel already
        return self.look_away()

    def forget_call(self) -> Call:
        """Return what is to be called, which the job holds no longer."""
        call = self._call
        self._call = self._context = None
        assert call is not None
        return call

    def forget(self) -> None:
        """Hold neither arguments nor values any longer."""
        self._call = self._context = None

    def record(self) -> JobRecord:
        """Describe it."""
        at = read_clock.read()
        began = self._began_at
        return JobRecord(
            name=self.name,
            state=self.state,
            key="" if self.key is None else repr(self.key),
            site=line_at(self._site),
            waited_s=(at if began is None else began) - self._joined_at,
            ran_s=0.0 if began is None else at - began,
        )

    def __hash__(self) -> int:
        """Return the number: a walk through a set of jobs is then the same in each run."""
        return self.number

    def __eq__(self, other: object) -> bool:
        """Tell whether this is the same job."""
        return self is other

    def __repr__(self) -> str:
        """Show name and state."""
        return f"<Job {self.name!r} {self.state}>"
