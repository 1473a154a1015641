"""A loop that asks, at each step, who runs next.

The model, in two sentences. *A task's wake-up may be late*: among all that is
ready, any task may go first. *A callback is never late*: handles of `call_soon`
and done-callbacks run in the order in which they were scheduled, and nothing
that was scheduled after a callback runs before it.

Why a failure found so is a real one: how many turns of the loop lie between an
event and the task that waits for it is promised by nobody. It changes with the
Python version (`wait_for` took a task of its own until 3.11), with the loop
(uvloop), with eager tasks, and with each `wait_for`, `shield` or `gather` that
is put around an await; and where the awaited thing is I/O in production, its
order of arrival is chance. What asyncio does promise stays: order of callbacks,
one step of a task at a time, no step inside another.

Timers that are due at the same time fire in any order. Time passes only when
nothing else can run, unless `timers="early"`: then a timer may fire while tasks
are ready, as if the steps before it had taken that long.

Nothing here is real: no sockets (they raise), no waiting, and what is sent to a
thread runs as one step of the loop.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
import threading
from asyncio import Handle, TimerHandle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

from backstay.errors import UsageError
from backstay.testing._virtual_loop import DeadlockError, VirtualClock, VirtualLoop
from backstay.testing.exploration._explored_task import ExploredTask, make_task, task_to_resume
from backstay.testing.exploration._plan import (
    FIFO,
    TIME_PASSES,
    Cancel,
    CancelAtSteps,
    CancelAtWait,
    Choice,
    Plan,
    Record,
)

__all__ = ["ExploringLoop", "Order", "StepBudgetExceeded", "Timers", "Watcher"]

Order = Literal["tasks", "arrival"]
Timers = Literal["due", "early"]
Watcher = Callable[["ExploringLoop", int, int, Handle | None], None]
"""Called before each step of a traced run with the index chosen, the source and its handle."""

_NEVER = 1 << 60


class StepBudgetExceeded(DeadlockError):
    """The run took more steps than allowed: a livelock, or a budget that is too small."""


class _NoFiles(selectors.BaseSelector):
    """Stands where a selector is expected; explored code has no files to wait for."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> NoReturn:
        raise UsageError(
            f"explored code tried to wait for {fileobj!r}: sockets and pipes have no schedule that "
            "could be repeated; put a fake in memory there"
        )

    def unregister(self, fileobj: Any) -> NoReturn:
        raise KeyError(fileobj)

    def select(self, timeout: float | None = None) -> list[Any]:
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class ExploringLoop(VirtualLoop):
    """A virtual loop that follows a plan and keeps a record.

    Attributes:
        record: what has happened so far.
        tasks: every task made on this loop, in order.
        current: the number of the task whose step is run, 0 outside.
    """

    # What asyncio's loop keeps for itself and a loop of another order has to look at.
    _asyncgens: Any
    _closed: bool
    _scheduled: list[TimerHandle]  # a heap
    _thread_id: int | None
    _timer_cancelled_count: int

    def __init__(
        self,
        plan: Plan,
        *,
        order: Order = "tasks",
        timers: Timers = "due",
        max_steps: int = 10_000,
        spare: Callable[[asyncio.Task[Any]], bool] | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        """Prepare to follow `plan`; see `explore` for the rest."""
        self._handles: list[Handle] = []
        self._sources: list[int] = []  # invariant: as long as `_handles`, and tells who each is
        self.record = Record(plan.chance)
        self.tasks: list[ExploredTask] = []
        self.faults: list[tuple[str, BaseException]] = []
        self._choose = plan.choose
        self._plan = plan
        self._by_arrival = order == "arrival"
        self._early = timers == "early"
        self._max_steps = max_steps
        self._spare = spare
        self._watcher = watcher
        self.woken_when_cancelled: list[bool] = []  # beside record.cancels, in a traced run
        self._steps = 0
        self._last_stranger = TIME_PASSES  # numbers below it go to timers and threads
        self._cancel_at: list[int] = []
        self._watched = _NEVER  # the task of a CancelAtWait
        self._watched_steps = 0
        self._attention = max_steps  # the next step at which something besides running is due
        super().__init__(VirtualClock())
        self.set_task_factory(make_task)  # type: ignore[arg-type]
        self._heed(plan)

    def _make_selector(self) -> selectors.BaseSelector:
        return _NoFiles()

    def _heed(self, plan: Plan) -> None:
        cancels = plan.cancels
        if isinstance(cancels, CancelAtSteps):
            self._cancel_at = list(reversed(cancels.steps))
            if self._cancel_at:
                self._attention = min(self._max_steps, self._cancel_at[-1])
        elif cancels is not None:
            self._watched = cancels.task

    # -- what a stock loop has and an exploring one must not -----------------------

    def _make_self_pipe(self) -> None:
        """Nobody wakes this loop from outside."""

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    @property
    def _backstay_wakes(self) -> Any:
        """The run queue of our own primitives, told to make a handle of each wake-up.

        Otherwise it wakes several tasks within one step, in one order.
        """
        try:
            return self.__wakes
        except AttributeError:
            return None

    @_backstay_wakes.setter
    def _backstay_wakes(self, queue: Any) -> None:
        queue.wakes_per_turn = 0
        self.__wakes = queue

    # -- scheduling --------------------------------------------------------------

    def register_task(self, task: ExploredTask) -> int:
        """Note a new task and return its number; the scenario itself is 1."""
        self.tasks.append(task)
        self.record.births.append(self._steps)
        return len(self.tasks)

    def _new_stranger(self) -> int:
        self._last_stranger -= 1
        return self._last_stranger

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        """Schedule as asyncio does, and note whose handle it is."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = Handle(callback, args, self, context)
        task = task_to_resume(callback)
        self._handles.append(handle)
        self._sources.append(0 if task is None else task.number)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        """Schedule from the loop's own thread.

        Raises:
            UsageError: called from another thread, whose order nobody could repeat.
        """
        if threading.get_ident() != self._thread_id:
            raise UsageError(
                "a thread called into an exploring loop: when a thread does so is chance that cannot be "
                "repeated; use loop.run_in_executor or asyncio.to_thread, which are run as steps"
            )
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run `func` as one step of the loop, at any later time.

        Where the future was cancelled by then, it runs in some schedules and not in others.
        """
        done: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            # A thread that was faster than the cancellation works on all the same.
            if done.cancelled() and (self._plan.chance + self._steps) % 2:
                return
            try:
                result = func(*args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self._handles.append(Handle(work, (), self))
        self._sources.append(self._new_stranger())
        return done

    # -- running -------------------------------------------------------------------

    def _run_once(self) -> None:
        """Run one handle."""
        handles, sources = self._handles, self._sources
        if self._steps >= self._attention:
            self._attend()
        if self._scheduled:
            self._release_due()
        while not handles:
            self._wait()
        index = 0
        if len(handles) > 1 or self._early:
            index = self._pick(sources)
            if index < 0:
                return
        handle = handles.pop(index)
        source = sources.pop(index)
        if self._watcher is not None:
            self._watcher(self, index, source, handle)
        self._steps += 1
        self.record.path.append(source)
        if source == self._watched:
            self._run_watched(handle)
        elif not handle.cancelled():
            handle._run()

    def _pick(self, sources: list[int]) -> int:
        """Let the plan choose; -1 when it chose that time passes."""
        count = len(sources)
        if self._by_arrival:
            count = self._leading_timers(sources)
        elif 0 in sources:
            count = sources.index(0) + 1  # nothing overtakes a callback
        options = sources
        if self._early and self._next_timer() is not None:
            options = [*sources[:count], TIME_PASSES]
            count += 1
        if count <= 1:
            return 0
        index = self._choose(options, count, self._steps)
        self.record.choices.append(Choice(self._steps, index, tuple(options[:count])))
        if options[index] != TIME_PASSES:
            return index
        if self._watcher is not None:
            self._watcher(self, index, TIME_PASSES, None)
        self._steps += 1
        self.record.path.append(TIME_PASSES)
        self._jump()
        return -1

    def _leading_timers(self, sources: list[int]) -> int:
        """Count the timers at the head: the only order that this loop leaves to chance."""
        count = 0
        for source in sources:
            if source > TIME_PASSES:
                break
            count += 1
        return max(1, count)

    def _run_watched(self, handle: Handle) -> None:
        cancels = self._plan.cancels
        assert isinstance(cancels, CancelAtWait)  # or nobody would be watched
        task = self.tasks[cancels.task - 1]
        if cancels.window == "woken" and self._watched_steps == cancels.wait:
            self._cancel(task, self._steps - 1)
        self._watched_steps += 1
        handle._run()
        if cancels.window == "waiting" and self._watched_steps == cancels.wait:
            self._cancel(task, self._steps)

    def _attend(self) -> None:
        if self._steps >= self._max_steps:
            raise StepBudgetExceeded(
                f"not finished after {self._max_steps} steps: tasks keep each other running for ever, or "
                "the scenario is long; then raise max_steps"
            )
        cancels = self._plan.cancels
        if isinstance(cancels, CancelAtSteps):
            while self._cancel_at and self._cancel_at[-1] <= self._steps:
                self._cancel_at.pop()
                victim = cancels.choose(self._steps, self.victims())
                if victim is not None:
                    self._cancel(victim, self._steps)
        self._attention = min(
            self._max_steps, self._cancel_at[-1] if self._cancel_at else self._max_steps
        )

    def victims(self) -> Sequence[ExploredTask]:
        """Return the tasks that may be cancelled now: all alive but the scenario itself."""
        spare = self._spare
        return [
            task
            for task in self.tasks[1:]
            if not task.done() and (spare is None or not spare(task))
        ]

    def _cancel(self, task: ExploredTask, step: int) -> None:
        if task.done() or (self._spare is not None and self._spare(task)):
            return
        self.record.cancels.append(Cancel(step, task.number))
        if self._watcher is not None:
            self.woken_when_cancelled.append(task.number in self._sources)
        task.cancel("cancelled by the schedule explorer")

    # -- time ------------------------------------------------------------------------

    def _next_timer(self) -> TimerHandle | None:
        scheduled = self._scheduled
        while scheduled and scheduled[0].cancelled():
            self._timer_cancelled_count -= 1
            _leave_heap(heapq.heappop(scheduled))
        return scheduled[0] if scheduled else None

    def _release_due(self) -> None:
        """Make ready what is due by now; each timer is a source of its own."""
        until = self.clock.monotonic() + self._clock_resolution
        while (timer := self._next_timer()) is not None and timer.when() < until:
            _leave_heap(heapq.heappop(self._scheduled))
            self._handles.append(timer)
            self._sources.append(self._new_stranger())

    def _jump(self) -> bool:
        timer = self._next_timer()
        if timer is None:
            return False
        self.clock.advance(max(0.0, timer.when() - self.clock.monotonic()))
        self._release_due()
        return True

    def _wait(self) -> None:
        if self._tell_blocked() or self._jump():
            return
        raise DeadlockError(
            "every task is blocked and no timer is set, so nothing can ever happen: "
            "look for a task that waits for something nobody will do"
        )

    # -- ends --------------------------------------------------------------------------

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what a stock loop would only log."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.faults.append((str(context.get("message", "")), error))

    def stop_exploring(self) -> None:
        """From here on: order of arrival, no cancellations, and a record that stays as it is."""
        self._choose = FIFO
        self._by_arrival = True
        self._early = False
        self._watcher = None
        self._watched = _NEVER
        self._cancel_at = []
        kept = self.record
        self.record = Record(kept.chance)
        self._max_steps = self._attention = self._steps + self._max_steps

    def close(self) -> None:
        """Close, and let go of what was never run."""
        self._handles.clear()
        self._sources.clear()
        super().close()

    def pending(self) -> list[ExploredTask]:
        """Return the tasks that have not ended, in order of creation."""
        return [task for task in self.tasks if not task.done()]


def _leave_heap(timer: TimerHandle) -> None:
    setattr(timer, "_scheduled", False)  # so that cancelling it later does not count for the heap
