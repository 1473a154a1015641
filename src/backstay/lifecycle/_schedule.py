"""`Schedule`: calls work at planned instants, each run with an owner and a deadline, and leaves in order.

::

    new ──run()──► running ──told──► draining ──running: 0, or budget over──► exited

What begins when, `Agenda` decides, on the wall clock; how long anything lasts is measured on the monotonic
one. The body only looks: at the next planned instant, when a place becomes free, and each `look`
seconds, since a clock that is set makes no sound.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

from backstay._base import (
    ClockJumped,
    Histogram,
    RunEnded,
    ScheduleMoved,
    clock_jumped,
    now,
    random,
    run_ended,
    schedule_moved,
    wall,
)
from backstay.context import new_trace_id
from backstay.errors import DeadlineExceeded
from backstay.lifecycle._agenda import Agenda, Missed
from backstay.lifecycle._clock_sight import ClockSight
from backstay.lifecycle._lease import Lease
from backstay.lifecycle._lease_hold import LeaseHold
from backstay.lifecycle._schedule_records import (
    Outcome,
    Run,
    RunRecord,
    ScheduleCounts,
    ScheduleState,
    ScheduleStatistics,
)
from backstay.lifecycle._steered import ALIVE, Steered
from backstay.lifecycle._timetable import Timetable
from backstay.tasks import Scope

__all__ = ["Schedule"]

_log = logging.getLogger("backstay.schedule")

_LEAST_S = 0.001  # of a sleep: the clocks do not agree on less
_LAST_S = 1.0  # of the drain's budget, kept for runs that are cancelled to end


class Schedule(Steered):
    """Calls work at each instant of a timetable, until it is told to leave.

    ::

        report = Schedule("report", Cron("30 2 * * *", tz="Europe/Berlin"), make_report, deadline=600.0)
        service.task("report", report.run, needs=("database",), budget=30.0)

        async with report: ...  # or alone, for as long as the block lasts

    `make_report` is called with a `Run`. What it raises is told and counted, and the next run
    comes at its time. Each run is a task with a scope of kind "job", named after its planned instant. A
    schedule is used once.

    Attributes:
        name: shown in events, logs, statistics and scopes; replicas share a lease by it.
        state: "new", "running", "draining" or "exited".
    """

    _kind = "schedule"

    def __init__(
        self,
        name: str,
        timetable: Timetable,
        work: Callable[[Run], Awaitable[object]],
        *,
        deadline: float | None = None,
        jitter: float = 0.0,
        overlap: int = 1,
        missed: Missed = "skip",
        most: int = 10,
        late: float = 60.0,
        since: float | None = None,
        drain: float = 20.0,
        look: float = 5.0,
        history: int = 100,
        lease: Lease | None = None,
        ttl: float = 30.0,
        remember: float = 3600.0,
    ) -> None:
        """Describe it; nothing is begun before `run`.

        Args:
            name: of the schedule.
            timetable: when it is planned: `Every`, `Cron`, or what answers `next_after`.
            work: one run.
            deadline: seconds for one run, jitter and the wait for the lease not counted; None for none.
            jitter: seconds, >= 0: each run begins by chance up to that much later.
            overlap: runs at once, >= 1.
            missed: what becomes of instants that could not begin at their time: "skip", "once" or "all".
            most: instants that "all" keeps at most, >= 1.
            late: seconds by which a run may begin late under "skip", and for which a store of leases that is
                away is asked again, >= 0.
            since: unix seconds of the last instant that is known to be done, so that those that
                were missed while no process ran are seen to; when omitted, nothing before `run` is.
            drain: seconds from being told to the end, > 0; what still runs then is cancelled.
            look: seconds within which a jump of the clock is noticed, > 0.
            history: records that are kept, >= 0.
            lease: lets one of all replicas run; a run without it does not begin, and one that loses
                it is cancelled while it still is nobody else's.
            ttl: seconds of the lease, >= 0.5; the same in all replicas.
            remember: seconds for which no replica does what another has begun, more than the clocks
                of two machines can be apart.

        Raises:
            ValueError: a number is out of range, or replicas and runs at once are both wanted.
        """
        if not (jitter >= 0 and drain > 0 and look > 0 and history >= 0):
            raise ValueError(
                f"jitter, history >= 0 and drain, look > 0 are needed, not {jitter!r}, {history!r}, {drain!r} and {look!r}"
            )
        if overlap < 1 or (lease is not None and overlap != 1):
            raise ValueError(
                f"overlap is at least 1, and with a lease it is 1, since that is held by one run: not {overlap!r}"
            )
        if deadline is not None and not deadline > 0:
            raise ValueError(
                f"a deadline is more than 0 seconds, not {deadline!r}: None is for none"
            )
        if not ttl >= 0.5 or not remember >= 0:
            raise ValueError(
                f"ttl >= 0.5 and remember >= 0 are needed, not {ttl!r} and {remember!r}"
            )
        Agenda(
            timetable, 0.0, missed=missed, most=most, late=late
        )  # refuses now what it would then
        super().__init__(name)
        self.state: ScheduleState = "new"
        self._timetable, self._work = timetable, work
        self._deadline, self._jitter, self._overlap = deadline, jitter, overlap
        self._new_agenda = partial(Agenda, timetable, missed=missed, most=most, late=late)
        self._agenda: Agenda | None = None
        self._since, self._late, self._drain_s, self._look_s = since, late, drain, look
        self._lease, self._ttl, self._remember = lease, ttl, remember
        self._clock = ClockSight()
        self._running: dict[asyncio.Task[None], _Live] = {}
        self._history: deque[RunRecord] = deque(maxlen=history)
        self._counts = ScheduleCounts()
        self._took = Histogram()
        self._last_done_at: float | None = None
        self._left: tuple[str, ...] = ()
        ALIVE.add(self)

    # -- what people ask -------------------------------------------------------------

    def history(self) -> tuple[RunRecord, ...]:
        """Return what became of the last instants, the newest last."""
        return tuple(self._history)

    def statistics(self) -> ScheduleStatistics:
        """Return how it is doing. Cost: one question to the timetable."""
        at = now()
        planned = None
        if self.state in ("new", "running"):
            ask = self._timetable.next_after if self._agenda is None else self._agenda.next_at
            planned = ask(wall())
        return ScheduleStatistics(
            name=self.name,
            state=self.state,
            paused=self._paused,
            next_at=planned,
            running=len(self._running),
            oldest_s=max((at - one.since for one in self._running.values()), default=0.0),
            waiting=0 if self._agenda is None else self._agenda.waiting,
            **asdict(self._counts),
            last_done_at=self._last_done_at,
            clock_jumps=self._clock.jumps,
            clock_jump_s=self._clock.last_s,
            took_p50_s=self._took.quantile(0.5),
            took_p99_s=self._took.quantile(0.99),
            left_over=self._left,
        )

    def __repr__(self) -> str:
        """Show the name, the state and how many run."""
        paused = f" paused: {self._paused}" if self._paused else ""
        return f"<Schedule {self.name!r} {self.state} running={len(self._running)}{paused}>"

    async def __aenter__(self) -> Schedule:
        """Run it in the background of a block; see `run`."""
        await self._begin_block()
        return self

    # -- running ---------------------------------------------------------------------

    async def run(self, leave: asyncio.Event | None = None) -> ScheduleStatistics:
        """Begin runs at their time until told to leave; then finish what runs, within the budget.

        Args:
            leave: tells it; `stop()` does as well.

        Returns:
            How it went.

        Raises:
            LifecycleMisuse: it has run before.

        Cancelled: runs are cancelled, and have ended when it ends.

        Emits: `schedule_moved` for each state, `run_ended` for each planned instant that was begun or
            given up, `clock_jumped`.
        """
        self._only_once(self.state)
        why = "it was cancelled"
        self._agenda = self._new_agenda(wall() if self._since is None else self._since)
        self._go("running", "run() was called")
        try:
            async with Scope(self.name, kind="schedule", on_exit="cancel", unwrap=True) as scope:
                if leave is not None:
                    scope.go(self._heed, leave)
                while not self._told.is_set():
                    await self._look_again(self._look(scope, self._agenda))
                await self._drain()
                why = self._why
        finally:
            self._go("exited", why)
        return self.statistics()

    def _go(self, state: ScheduleState, why: str) -> None:
        before, self.state = self.state, state
        if schedule_moved:
            schedule_moved.emit(ScheduleMoved(self.name, before, state, why))

    def _look(self, scope: Scope, agenda: Agenda) -> float:
        """Begin what is due; return the seconds until the next look."""
        at, here = now(), wall()
        jump = self._clock.look(here, at)
        if jump:
            _log.warning("schedule %r: the clock was set by %+.3f s", self.name, jump)
            if clock_jumped:
                clock_jumped.emit(ClockJumped(self.name, jump))
        places = 0 if self._paused else self._overlap - len(self._running)
        turn = agenda.look(here, max(0, places))
        self._counts.missed += turn.missed
        self._counts.overlapped += turn.overlapped
        for planned, why in turn.dropped:
            self._note(RunRecord(planned, why, max(0.0, here - planned), 0.0, ""))
        if turn.missed:
            _log.warning("schedule %r: %d planned runs were missed", self.name, turn.missed)
        for planned in turn.begin:
            one = _Live(planned, at)
            task = scope.go(self._see_to, one)
            task.set_name(f"{self.name} {_moment(planned)}")
            self._running[task] = one
            task.add_done_callback(self._ended)
        upcoming = agenda.next_at(here)
        left = self._look_s if upcoming is None else min(self._look_s, upcoming - here)
        return max(_LEAST_S, left)

    async def _look_again(self, seconds: float) -> None:
        """Wait until something has changed, or time has."""
        self._changed.clear()
        if self._told.is_set():
            return
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _ended(self, task: asyncio.Task[None]) -> None:
        one = self._running.pop(task)
        if task.cancelled():  # perhaps before its first step, so that nobody else has told of it
            self._end(one, "left", "it was cancelled before its work began")
        self._changed.set()

    async def _drain(self) -> None:
        self._go("draining", self._why)
        until = now() + self._drain_s
        last = min(_LAST_S, self._drain_s / 4)
        while self._running and (left := until - last - now()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                pass
        if not self._running:
            return
        self._left = tuple(task.get_name() for task in self._running)
        _log.warning(
            "schedule %r: %d runs did not end within the %g s of its drain, and are cancelled: %s",
            self.name, len(self._left), self._drain_s, ", ".join(self._left[:20]),
        )  # fmt: skip
        for task in list(self._running):
            task.cancel()
        await asyncio.wait(list(self._running), timeout=last)

    # -- one run ---------------------------------------------------------------------

    async def _see_to(self, one: _Live) -> None:
        """See to one planned instant: its jitter, its lease, its work."""
        if self._jitter and await self._told_within(random() * self._jitter):
            self._end(one, "left", "the schedule was told to leave")
        elif self._lease is None:
            await self._do(one, None)
        else:
            await self._do_alone(one, LeaseHold(self._lease, self.name, self._ttl))

    async def _told_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            return False
        return True

    async def _do_alone(self, one: _Live, hold: LeaseHold) -> None:
        try:
            once = f"{one.planned:.3f}"
            async with hold.held(once, self._remember, self._late, self._told) as ours:
                if not ours:
                    self._end(one, "elsewhere", "another replica does it, or has done it")
                elif self._told.is_set():
                    self._end(one, "left", "the schedule was told to leave")
                else:
                    await self._do(one, hold)
        except Exception as error:  # the store's: what work raises does not come here
            told = self._told.is_set()
            self._end(one, "left" if told else "no lease", f"{type(error).__name__}: {error}")
        finally:
            self._counts.lease_errors += hold.errors
            self._counts.last_error = hold.last_error or self._counts.last_error

    async def _do(self, one: _Live, hold: LeaseHold | None) -> None:
        """Do the work of one run, and tell what became of it. Raises nothing but a cancel."""
        token = 0 if hold is None or hold.grant is None else hold.grant.token
        run = Run(self.name, one.planned, max(0.0, wall() - one.planned), token)
        scope = Scope(
            f"{self.name} {_moment(one.planned)}",
            kind="job",
            timeout=self._deadline,
            trace_id=new_trace_id(),
            unwrap=True,
        )
        self._counts.begun += 1
        began = now()
        outcome: Outcome = "cut"
        why = "it was cancelled"
        try:
            async with scope:
                await self._work(run)
            outcome, why = "done", ""
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            outcome, why = "failed", "CancelledError: it has cancelled itself"
        except Exception as error:
            outcome = "deadline" if isinstance(scope.cause, DeadlineExceeded) else "failed"
            why = f"{type(error).__name__}: {error}"
            _log.error("run %s: %s: %s", scope.name, outcome, why, exc_info=error)
        finally:
            if hold is not None and hold.lost:
                outcome, why = "lost", hold.lost
            self._end(one, outcome, why, run.late_s, max(0.0, now() - began))

    def _end(
        self, one: _Live, outcome: Outcome, why: str, late: float | None = None, took: float = 0.0
    ) -> None:
        """Tell what became of a planned instant that was to begin."""
        if one.noted:
            return
        one.noted = True
        field = outcome.replace(" ", "_")
        setattr(self._counts, field, getattr(self._counts, field) + 1)
        if outcome == "done":
            self._last_done_at = wall()
        elif outcome in ("failed", "deadline", "lost", "no lease"):
            self._counts.last_error = why
        if outcome in ("done", "failed", "deadline", "cut", "lost"):
            self._took.record(took)
        late = max(0.0, wall() - one.planned) if late is None else late
        self._note(RunRecord(one.planned, outcome, late, took, why))

    def _note(self, record: RunRecord) -> None:
        self._history.append(record)
        if run_ended:
            run_ended.emit(
                RunEnded(
                    self.name,
                    record.planned_at,
                    record.outcome,
                    record.late_s,
                    record.took_s,
                    record.error,
                )
            )


class _Live:
    """A planned instant that has got a place."""

    __slots__ = ("noted", "planned", "since")

    def __init__(self, planned: float, since: float) -> None:
        self.planned = planned
        self.since = since  # on the clock of now()
        self.noted = False


def _moment(planned: float) -> str:
    return datetime.fromtimestamp(planned, UTC).isoformat(timespec="seconds")
