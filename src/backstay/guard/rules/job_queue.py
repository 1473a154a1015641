"""Which job begins next: the oldest, or the newest, and never two of one key at a time.

Jobs of one key begin in the order in which they came, each when the one before has
ended; jobs of different keys, and those without, know nothing of each other. So the
line holds two kinds of jobs: those that could begin now, in a heap by arrival, and those
behind another one of their key, which are not looked at before that one has ended. A key
with a thousand jobs thus costs nothing to those of other keys.

A job that is dropped stays as a stale entry until half of the line is stale, as in
`sync._wake_queue.WaitLine`: dropping one costs constant time on average.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, Literal, TypeAlias, TypeVar

__all__ = ["JobOrder", "JobQueue", "Place"]

J = TypeVar("J")

JobOrder: TypeAlias = Literal["fifo", "lifo"]

_FEW = 16  # a line this short is not compacted


class Place(Generic[J]):
    """One job in line.

    Attributes:
        job: what was put there; None once it has begun or was dropped.
        key: of which no two jobs are under way at a time; None for no key.
    """

    __slots__ = ("_number", "_ready", "job", "key")

    def __init__(self, job: J, key: Hashable | None, number: int) -> None:
        """Made by `JobQueue.put`."""
        self.job: J | None = job
        self.key = key
        self._number = number
        self._ready = True  # in the heap, not behind another one of its key

    def __lt__(self, other: Place[J]) -> bool:
        """Tell which of two is first; what a heap asks."""
        return self._number < other._number


class JobQueue(Generic[J]):
    """The line of jobs that have not begun.

    Invariants: `len` counts the places whose job is not None. A key stands in `_behind`
    exactly while a job of it is in the heap or under way; whoever stands behind it there
    came later.
    """

    __slots__ = ("_behind", "_count", "_ready", "_sequence", "_stale", "_step")

    def __init__(self, order: JobOrder = "fifo") -> None:
        """Start with an empty line.

        Args:
            order: "fifo" for the oldest first, "lifo" for the newest; of one key always the oldest.

        Raises:
            ValueError: there is no such order.
        """
        if order not in ("fifo", "lifo"):
            raise ValueError(f'jobs begin in the order "fifo" or "lifo", not {order!r}')
        self._step = 1 if order == "fifo" else -1
        self._sequence = 0
        self._count = 0
        self._ready: list[Place[J]] = []  # a heap
        self._behind: dict[Hashable, deque[Place[J]]] = {}
        self._stale = 0  # places of dropped jobs, in the heap or behind a key

    def __len__(self) -> int:
        """Return how many jobs are in line."""
        return self._count

    def put(self, job: J, key: Hashable | None = None) -> Place[J]:
        """Let a job join the line; return its place, for `drop`."""
        self._sequence += self._step
        place = Place(job, key, self._sequence)
        self._count += 1
        if key is None:
            heappush(self._ready, place)
        elif (behind := self._behind.get(key)) is not None:
            place._ready = False
            behind.append(place)
        else:
            self._behind[key] = deque()
            heappush(self._ready, place)
        return place

    def take(self) -> tuple[J, Hashable | None] | None:
        """Take the job that begins next out of the line; None when none can.

        Its key is under way until `ended` is called with it.
        """
        ready = self._ready
        while ready:
            place = heappop(ready)
            if place.job is not None:
                job, place.job = place.job, None
                self._count -= 1
                return job, place.key
            self._stale -= 1
        return None

    def ended(self, key: Hashable | None) -> None:
        """Let the next job of a key follow: the one that was under way has ended."""
        self._move_up(key)

    def _move_up(self, key: Hashable | None) -> None:
        if key is None:
            return
        behind = self._behind[key]
        while behind:
            place = behind.popleft()
            if place.job is not None:
                place._ready = True
                heappush(self._ready, place)
                return
            self._stale -= 1
        del self._behind[key]

    def drop(self, place: Place[J]) -> bool:
        """Take a job out of the line that is not to begin; tell whether it was still there."""
        if place.job is None:
            return False
        place.job = None
        self._count -= 1
        self._stale += 1
        if place._ready:
            self._move_up(place.key)
        if self._stale > _FEW and self._stale > self._count:
            self._compact()
        return True

    def clear(self) -> list[J]:
        """Take all jobs out, the oldest first; keys that are under way stay so."""
        places = [*self._ready, *(place for line in self._behind.values() for place in line)]
        places.sort(key=lambda place: place._number * self._step)
        jobs: list[J] = []
        for place in places:
            if place.job is not None:
                jobs.append(place.job)
                self.drop(place)
        return jobs

    def _compact(self) -> None:
        """Forget the stale places."""
        self._ready = [place for place in self._ready if place.job is not None]
        heapify(self._ready)
        for key, behind in self._behind.items():
            self._behind[key] = deque(place for place in behind if place.job is not None)
        self._stale = 0
