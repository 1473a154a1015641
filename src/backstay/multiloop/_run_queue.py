"""The queues of the scheduler and what may be taken from them, as plain state.

No lock and no thread in this file: whoever shares a queue guards it. So the
rules can be checked against a model, in any order of events.

The rules are those of Go's scheduler (`runtime/proc.go`: runqput, runqgrab,
globrunqget, schedule), with one difference that asyncio forces on us: a thief
takes from the *tail*. The owner has promised the next few jobs at the head to
tasks that have not had their first step, and taking those would waste the tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["GLOBAL_EVERY", "LOCAL_CAPACITY", "RunQueue", "global_is_due", "global_share", "half"]

J = TypeVar("J")

#: Every so many starts a loop looks at the global queue first, or jobs there could starve
#: while the loops feed themselves. A prime, as in Go, so that it beats with no pattern of theirs.
GLOBAL_EVERY = 61

#: Jobs that one loop holds for itself; beyond it half of them become everybody's. Go's number.
LOCAL_CAPACITY = 256


def half(count: int) -> int:
    """Return how many of `count` jobs a thief takes: half, rounded up."""
    return (count + 1) // 2


def global_share(waiting: int, procs: int, room: int) -> int:
    """Return how many of the `waiting` global jobs one of `procs` loops takes at a time.

    A fair share and one more, so that the last ones are taken too; never more
    than half of a local queue, nor than there is room for.
    """
    return max(0, min(waiting, waiting // max(1, procs) + 1, LOCAL_CAPACITY // 2, room))


def global_is_due(tick: int, looked_at: int) -> bool:
    """Tell whether it is time to look at the global queue first.

    Args:
        tick: jobs that the loop has started so far.
        looked_at: what that number was when it last looked there.
    """
    return tick - looked_at >= GLOBAL_EVERY


class RunQueue(Generic[J]):
    """Jobs that have not started, oldest first.

    Invariant: a job is in at most one queue at a time; what a method returns
    is no longer in this one, except for `heads`.
    """

    __slots__ = ("_jobs", "capacity", "closed")

    def __init__(self, capacity: int = LOCAL_CAPACITY) -> None:
        """Start empty and open."""
        self._jobs: deque[J] = deque()
        self.capacity = capacity
        self.closed = False  # a closed queue takes nothing; what is in it can only leave

    def __len__(self) -> int:
        """Count the jobs that wait."""
        return len(self._jobs)

    @property
    def room(self) -> int:
        """How many more it holds."""
        return 0 if self.closed else max(0, self.capacity - len(self._jobs))

    def push(self, job: J) -> list[J]:
        """Put a job last.

        Returns:
            What must go to the global queue: nothing as a rule; of a full queue the
            older half and the job; of a closed one the job.
        """
        if self.closed:
            return [job]
        if len(self._jobs) < self.capacity:
            self._jobs.append(job)
            return []
        older = [self._jobs.popleft() for _ in range(half(len(self._jobs)))]
        return [*older, job]

    def extend(self, jobs: Iterable[J]) -> list[J]:
        """Put several jobs last, in their order; returns what must go to the global queue."""
        over: list[J] = []
        for job in jobs:
            over += self.push(job)
        return over

    def push_first(self, job: J) -> list[J]:
        """Put a job first, because its turn is overdue; returns what must go elsewhere."""
        if self.closed:
            return [job]
        self._jobs.appendleft(job)
        return []

    def heads(self, count: int) -> list[J]:
        """Return the next `count` jobs and leave them in place."""
        jobs = self._jobs
        return [jobs[index] for index in range(min(count, len(jobs)))]

    def take(self, job: J) -> bool:
        """Remove `job` if it is the next one; False when it has gone elsewhere meanwhile."""
        if self._jobs and self._jobs[0] is job:
            self._jobs.popleft()
            return True
        return False

    def pop(self, count: int) -> list[J]:
        """Remove and return the next `count` jobs."""
        return [self._jobs.popleft() for _ in range(min(count, len(self._jobs)))]

    def steal(self) -> list[J]:
        """Remove and return the newer half, in order, for another loop."""
        taken = [self._jobs.pop() for _ in range(half(len(self._jobs)))]
        taken.reverse()
        return taken

    def drain(self) -> list[J]:
        """Remove and return everything, in order."""
        return self.pop(len(self._jobs))
