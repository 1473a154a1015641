"""One loop with its thread and its own queue: the P and the M of Go's scheduler.

A loop cannot be moved to another thread and a task not to another loop, so here
the two are one, and what moves is the job that has not started.

The pump is a callback of the loop that comes again each turn while there is
work. It prepares a task for each of the next few jobs and leaves the jobs in
the queue; a task takes its job in its first step. So a job whose forerunner
blocks the loop is still in the queue, where others may take it, and its task
finds nothing and ends.

Invariant: while the queue holds a job, `_pumping` is True, and a pump is on its
way or at work. Guarded by `_guard`: the queue and `_pumping`. Everything else is
written by the loop's own thread, but for the marks of a hand-off.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol

from backstay._base import now
from backstay.multiloop._burst import Burst
from backstay.multiloop._job import Job
from backstay.multiloop._mailbox import Mailbox
from backstay.multiloop._run_queue import RunQueue, global_is_due
from backstay.multiloop._statistics import LoopStatistics
from backstay.multiloop._trip import run_job
from backstay.tasks import Scope, install

__all__ = ["LoopThread", "Market"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Market(Protocol):
    """Where a loop finds work of others, and leaves what it cannot hold."""

    def share(self, thief: LoopThread) -> list[Job]:
        """Take the loop's share of the global queue."""
        ...

    def one(self) -> list[Job]:
        """Take one job of the global queue."""
        ...

    def steal(self, thief: LoopThread) -> list[Job]:
        """Take half of another loop's queue."""
        ...

    def give(self, jobs: list[Job]) -> None:
        """Put jobs into the global queue and wake somebody."""
        ...

    def wake_another(self) -> None:
        """There is more than one loop can do."""
        ...

    def rest(self, who: LoopThread) -> bool:
        """Enter among the resting; False when there is work after all."""
        ...

    def busy(self) -> None:
        """A job starts."""
        ...

    def ended(self, who: LoopThread) -> None:
        """The thread has ended; called from it, as its last act."""
        ...


class LoopThread:
    """A loop, its thread, and the jobs it will start next.

    Attributes:
        name: of the loop and its thread.
        loop: None before the thread has made it.
        blocked: whether the watch has found it blocked; written by the watching thread.
    """

    def __init__(self, name: str, market: Market, factory: LoopFactory | None) -> None:
        """Describe it; `start` makes the thread."""
        self.name = name
        self.loop: asyncio.AbstractEventLoop | None = None
        self.blocked = False
        self.error: BaseException | None = None  # why the thread ended, if not in order
        self.burst = Burst()
        self._market = market
        self._factory = factory
        self._guard = threading.Lock()
        self._queue: RunQueue[Job] = RunQueue()
        self._pumping = False
        self._running: set[asyncio.Task[Any]] = set()  # jobs; asyncio holds tasks weakly
        self._tick = 0  # jobs started
        self._global_at = 0  # the tick of the last look at the global queue
        self._steals = self._stolen = self._global_looks = self._parks = self._stale = 0
        self._hand_offs = self._handed_off = 0
        self._retiring = False
        self._ready = threading.Event()
        self._on_ready: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    # -- life, from outside --------------------------------------------------------

    def start(self, on_ready: Callable[[], object]) -> None:
        """Start the thread; `on_ready` is called from it when the loop takes work, or has failed."""
        self._on_ready = on_ready
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread, which has said that it ends."""
        self._thread.join()

    def retire(self) -> None:
        """Take no new work, give away what has not started, end when the rest has ended."""
        with self._guard:
            self._queue.closed = True
            jobs = self._queue.drain()
        self._retiring = True
        if jobs:
            self._market.give(jobs)
        self.mailbox.post(self._end_if_idle)

    def empty(self) -> list[Job]:
        """Close the queue and return what is in it: nothing, unless somebody broke a rule."""
        with self._guard:
            self._queue.closed = True
            return self._queue.drain()

    # -- work, from any thread ---------------------------------------------------------

    def push(self, job: Job) -> list[Job]:
        """Put a job into the queue; returns what it cannot hold."""
        with self._guard:
            over = self._queue.push(job)
            post = self._must_pump()
        if post:
            self.mailbox.post(self._pump)
        return over

    def wake(self) -> None:
        """Look for work soon."""
        with self._guard:
            post = not self._pumping
            self._pumping = True
        if post:
            self.mailbox.post(self._pump)

    def _must_pump(self) -> bool:
        if self._pumping or not len(self._queue):
            return False
        self._pumping = True
        return True

    def steal(self) -> list[Job]:
        """Give up the newer half of the queue to another loop."""
        with self._guard:
            return self._queue.steal()

    def hand_off(self) -> list[Job]:
        """The loop is blocked: give up the whole queue."""
        with self._guard:
            jobs = self._queue.drain()
        self._hand_offs += 1
        self._handed_off += len(jobs)
        return jobs

    @property
    def queued(self) -> int:
        """Jobs that have not started."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Jobs that have started and not ended."""
        return len(self._running)

    def statistics(self) -> LoopStatistics:
        """Return how it is doing; callable from any thread."""
        return LoopStatistics(
            name=self.name,
            state=(
                "blocked"
                if self.blocked
                else "retiring"
                if self._retiring
                else "working"
                if self._pumping
                else "resting"
            ),
            queued=self.queued,
            running=self.running,
            started=self._tick,
            steals=self._steals,
            stolen=self._stolen,
            hand_offs=self._hand_offs,
            handed_off=self._handed_off,
            global_looks=self._global_looks,
            parks=self._parks,
            stale=self._stale,
        )

    # -- the thread ------------------------------------------------------------------

    def _live(self) -> None:
        try:
            # Newer Pythons let a thread inherit its starter's context; a scope of another
            # loop must not seem to be around us.
            Context().run(self._run)
        except BaseException as error:  # told to whoever waits for the thread
            self.error = error
        finally:
            self._on_ready()
            self._market.ended(self)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._factory) as runner:
            self.loop = runner.get_loop()
            runner.run(self._main())

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        install(loop)
        async with Scope(self.name, kind="multiloop", on_exit="cancel") as root:
            self.root = root
            self.context = copy_context()
            self.mailbox = Mailbox(loop, self.context)
            self._stop = loop.create_future()
            self._on_ready()
            await self._stop

    def stop(self) -> None:
        """End the loop; for the loop's own thread, or through the mailbox."""
        if not self._stop.done():
            self._stop.set_result(None)

    def _end_if_idle(self) -> None:
        if self._retiring and not self._running:
            self.stop()

    # -- the pump ----------------------------------------------------------------------

    def _pump(self) -> None:
        """Prepare tasks for the next jobs, and come again; or go to rest."""
        assert self.loop is not None
        self.burst.over(now())
        jobs = self._next_jobs()
        if not jobs and self._rest():
            return
        for job in jobs:
            task = self.loop.create_task(run_job(self, job), context=job.context.copy())
            self.root.raw_spawned -= 1  # it is nobody's raw task: the job has an owner
            self._running.add(task)
            task.add_done_callback(self._on_done)
        self.loop.call_soon(self._pump, context=self.context)

    def _next_jobs(self) -> list[Job]:
        """Choose what to start next: the overdue global one, ours, the global ones, others'."""
        if global_is_due(self._tick, self._global_at):
            self._global_at = self._tick
            self._take_in(self._market.one(), first=True)
        jobs = self._heads()
        if jobs:
            return jobs
        got = self._market.share(self)
        if got:
            self._global_at = self._tick
            self._global_looks += 1
        else:
            got = self._market.steal(self)
            if got:
                self._steals += 1
                self._stolen += len(got)
        if len(got) > 1:
            self._market.wake_another()
        self._take_in(got, first=False)
        return self._heads()

    def _heads(self) -> list[Job]:
        with self._guard:
            return self._queue.heads(self.burst.size)

    def _take_in(self, jobs: list[Job], *, first: bool) -> None:
        if not jobs:
            return
        with self._guard:
            over = self._queue.push_first(jobs[0]) if first else self._queue.extend(jobs)
        if over:  # closed meanwhile, because we retire
            self._market.give(over)

    def _rest(self) -> bool:
        """Go to rest; False when work has come meanwhile, and the pump must go on."""
        with self._guard:
            if len(self._queue):
                return False
            self._pumping = False
        if self._retiring:
            return True
        self._parks += 1
        if self._market.rest(self):
            return True
        with self._guard:
            if self._pumping:  # somebody has sent the next pump already
                return True
            self._pumping = True
        return False

    # -- what a job's task asks of us ----------------------------------------------------

    def claim(self, job: Job) -> bool:
        """Take `job` for the task that runs now; False when it is not ours any more."""
        if not self.burst.may_start(now()):
            self._stale += 1
            return False
        with self._guard:
            mine = self._queue.take(job)
        if not mine:
            self._stale += 1
            return False
        if not job.claim(asyncio.current_task(), self.mailbox):
            return False  # its caller gave it up
        self._tick += 1
        self._market.busy()
        return True

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if self._retiring:
            self._end_if_idle()
