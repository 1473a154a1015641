"""The scheduler: loops, their queues, the global queue, and the watch that hands off.

Lock order: none of the locks here is ever held while another one is taken.
What moves between two queues is for that moment in the hands of one thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from backstay._base import BlockRecord, now, random
from backstay.multiloop._job import Job, Outcome
from backstay.multiloop._loop_thread import LoopFactory, LoopThread
from backstay.multiloop._parking import Resting
from backstay.multiloop._run_queue import RunQueue, global_share
from backstay.multiloop._sysmon import Sysmon

__all__ = ["Scheduler"]

# The watch follows the loops for this long after the last job, and then rests.
_WATCH_ON_S = 1.0

_UNBOUNDED = 1 << 62


class Scheduler:
    """Spreads jobs over loops. Its methods may be called from any thread."""

    def __init__(self, name: str, factory: LoopFactory | None, hand_off_after: float) -> None:
        """Begin without loops; `add` makes them."""
        self.name = name
        self._factory = factory
        self._guard = threading.Lock()  # the two lists and the global queue
        self._procs: tuple[LoopThread, ...] = ()  # replaced, never changed: read without the lock
        self._leaving: tuple[LoopThread, ...] = ()  # retired, with jobs to finish
        self._ended: list[LoopThread] = []  # kept for their counts
        self._global: RunQueue[Job] = RunQueue(capacity=_UNBOUNDED)
        self._resting: Resting[LoopThread] = Resting()
        self._made = 0
        self._active_at = float("-inf")
        self.on_ended: Callable[[LoopThread], object] = lambda who: None
        self.sysmon = Sysmon(self._watched, hand_off_after, on_block=self._on_block)

    # -- loops -------------------------------------------------------------------------

    @property
    def procs(self) -> tuple[LoopThread, ...]:
        """The loops that take work."""
        return self._procs

    @property
    def threads(self) -> tuple[LoopThread, ...]:
        """All loops whose threads have not ended."""
        return self._procs + self._leaving

    def all(self) -> tuple[LoopThread, ...]:
        """All loops there ever were, for counting."""
        with self._guard:
            return (*self._procs, *self._leaving, *self._ended)

    def make(self) -> LoopThread:
        """Make a loop; it takes work once `add` is called with it."""
        with self._guard:
            number, self._made = self._made, self._made + 1
        return LoopThread(f"{self.name}/{number}", self, self._factory)

    def add(self, who: LoopThread) -> None:
        """Let a loop that is ready take work."""
        with self._guard:
            self._procs = (*self._procs, who)
        who.wake()

    def retire_one(self) -> None:
        """Take the youngest loop out; it ends when its jobs have ended."""
        with self._guard:
            *stay, who = self._procs
            self._procs = tuple(stay)
            self._leaving = (*self._leaving, who)
        self._resting.remove(who)
        who.retire()
        self.wake_another()

    def by_loop(self, loop: asyncio.AbstractEventLoop) -> LoopThread | None:
        """Return whose loop this is, None for a loop of somebody else."""
        for who in self.threads:
            if who.loop is loop:
                return who
        return None

    def ended(self, who: LoopThread) -> None:
        """A thread has ended; called from it."""
        with self._guard:
            self._procs = tuple(one for one in self._procs if one is not who)
            self._leaving = tuple(one for one in self._leaving if one is not who)
            self._ended.append(who)
        self._resting.remove(who)
        left = who.empty()
        if left:
            self.give(left)
        self.on_ended(who)

    # -- work --------------------------------------------------------------------------

    def send(self, job: Job) -> None:
        """Queue a job: on the caller's loop when that is one of ours, else for everybody."""
        here = self.by_loop(asyncio.get_running_loop())
        over = [job] if here is None else here.push(job)
        if over:
            self.give(over)
        else:
            self.wake_another()

    def give(self, jobs: list[Job]) -> None:
        """Put jobs into the global queue and wake somebody."""
        with self._guard:
            refused = self._global.extend(jobs)
        for job in refused:  # closed: nobody will run it, and its caller must not wait for ever
            if job.drop():
                job.home.post(job.deliver, Outcome(cancelled=True))
        self.wake_another()

    def wake_another(self) -> None:
        """Wake one resting loop, if there is one."""
        who = self._resting.wake_one()
        if who is not None:
            who.wake()

    def share(self, thief: LoopThread) -> list[Job]:
        """Take a loop's share of the global queue."""
        if not len(self._global):
            return []
        with self._guard:
            return self._global.pop(global_share(len(self._global), len(self._procs), _UNBOUNDED))

    def one(self) -> list[Job]:
        """Take one job of the global queue."""
        with self._guard:
            return self._global.pop(1)

    def steal(self, thief: LoopThread) -> list[Job]:
        """Take half of the queue of some other loop, beginning at a random one."""
        others = [one for one in self.threads if one is not thief]
        if not others:
            return []
        first = int(random() * len(others))
        for victim in others[first:] + others[:first]:
            if victim.queued:
                got = victim.steal()
                if got:
                    return got
        return []

    def rest(self, who: LoopThread) -> bool:
        """Let a loop rest; False when there is work after all. See `_parking`."""
        self._resting.add(who)
        if not len(self._global) and not any(one.queued for one in self.threads):
            return True
        # Work has come: whoever takes us out of the set, we or a waker, sends us back to it.
        return not self._resting.remove(who)

    def close(self) -> list[Job]:
        """Close all queues and return what was left in them."""
        with self._guard:
            self._global.closed = True
            left = self._global.drain()
        for who in self.threads:
            left += who.empty()
        return left

    # -- hand-off ----------------------------------------------------------------------

    def busy(self) -> None:
        """A job starts: let the watch wake up if it rests."""
        self._active_at = now()
        if self.sysmon.resting:
            self.sysmon.nudge()

    def _watched(self) -> list[asyncio.AbstractEventLoop]:
        who = self.threads
        if any(one.running or one.queued for one in who):
            self._active_at = now()
        elif now() - self._active_at > _WATCH_ON_S:
            return []
        return [one.loop for one in who if one.loop is not None]

    def _on_block(self, loop: asyncio.AbstractEventLoop, block: BlockRecord) -> None:
        """Give a blocked loop's queue to the others; for the watching thread."""
        who = self.by_loop(loop)
        if who is None:
            return
        if block.ended:
            who.blocked = False
            who.wake()  # it left the resting ones, and must say itself what it is now
            return
        if not who.blocked:
            who.blocked = True
            self._resting.remove(who)
        jobs = who.hand_off() if who.queued else []
        if jobs:
            self.give(jobs)
        elif self.waiting:
            # It may have been woken for these just before it was blocked.
            self.wake_another()

    # -- numbers -----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Jobs in the global queue."""
        return len(self._global)
