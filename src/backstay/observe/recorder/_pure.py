"""The stand-in for `call_soon` in Python: what native/recorder.c does, readable, and several times dearer.

asyncio schedules every step of every task by the *attribute* `loop.call_soon`, on the stock loop
and on uvloop. So whoever stands there sees when a task becomes ready, and, by wrapping the callback,
when its step begins and ends, and which task has woken it. Coroutines are not wrapped: their stacks
stay what they are for everybody else who looks.
"""

from __future__ import annotations

import asyncio
import struct
import time
from array import array
from collections.abc import Callable
from typing import Any
from weakref import ReferenceType, ref

__all__ = ["BUCKETS", "EVENT", "LABELS", "REGION", "PureRecorder", "bucket"]

#: One event: ready, begin and end in nanoseconds of the monotonic clock; task and waker by number.
EVENT = struct.Struct("=5Q")
#: Added to the number of a region's name, which stands where the waker does: so an event tells what it is.
REGION = 1 << 63
#: Regions that may be open at once; one too many is not recorded.
OPEN_REGIONS = 65_536
#: Names of tasks kept, those that have ended included.
LABELS = 65_536
#: Classes of durations, by the number of bits of the nanoseconds.
BUCKETS = 64

_FIRST_STEP = "TaskStepMethWrapper"
_WAKE_UP = "task_wakeup"

Label = tuple[Any, Any, Any, Any, Any, Any]


def bucket(ns: int) -> int:
    """Return the class of a duration: the place of its highest bit."""
    return max(0, ns.bit_length() - 1)


class PureRecorder:
    """Called in the place of `call_soon`; keeps the last events in a ring."""

    def __init__(self, original: Callable[..., Any], capacity: int, tracked: type[Any]) -> None:
        """Stand in for `original`, with room for so many events.

        Args:
            original: the bound method of a loop.
            capacity: events kept.
            tracked: the task class that knows spawn site and owner.
        """
        if capacity < 1:
            raise ValueError("a recorder needs room for one event at least")
        self.original = original
        self._capacity = capacity
        self._tracked = tracked
        self._ring = array("Q", bytes(EVENT.size * capacity))
        self._total = 0
        self._serials = 0
        self._labels: dict[int, tuple[int, Label]] = {}  # by place: number and words
        self._known: dict[int, tuple[ReferenceType[Any], int]] = {}
        self._open: dict[int, tuple[int, int, int]] = {}
        self._regions = self._keys = 0
        self._running = self._running_since = 0
        self._running_fresh = False
        self._ready = [0] * BUCKETS
        self._step = [0] * BUCKETS
        self._ready_sum = self._step_sum = 0

    def __call__(self, callback: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Schedule `callback`, and record when it runs."""
        return self.original(_Step(self, callback), *args, **options)

    def events(self, since: int, most: int, /) -> bytes:
        """Return the events that ended at `since` or later, at most so many, oldest first."""
        first = max(0, self._total - self._capacity)
        at = self._total
        while (
            at > first
            and (most < 0 or self._total - at < most)
            and self._ring[(at - 1) % self._capacity * 5 + 2] >= since
        ):
            at -= 1
        start, count = at % self._capacity, self._total - at
        whole = min(count, self._capacity - start)
        ring = self._ring
        return (
            ring[start * 5 : (start + whole) * 5].tobytes() + ring[: (count - whole) * 5].tobytes()
        )

    def label(self, serial: int, /) -> Label | None:
        """Return name, code, site, lasti, owner and trace id of a task, or None."""
        number, words = self._labels.get(serial % LABELS, (0, None))
        return words if serial and number == serial else None

    def living(self) -> dict[int, Any]:
        """Return the tasks that are alive, by their numbers."""
        found = ((serial, weak()) for weak, serial in list(self._known.values()))
        return {serial: task for serial, task in found if task is not None}

    def state(self) -> dict[str, Any]:
        """Return counters."""
        return {
            "total": self._total,
            "regions": self._regions,
            "lost": max(0, self._total - self._capacity),
            "running": self._running,
            "running_since": self._running_since,
            "ready": tuple(self._ready),
            "step": tuple(self._step),
            "ready_sum": self._ready_sum,
            "step_sum": self._step_sum,
        }

    def attribute(self, owner: str, trace: str, /) -> None:
        """Keep the words of the owner that the task under way has had within its first step.

        In a later one whose it is was seen already, and a scope that it has opened and closed is not
        all of its life.
        """
        serial = self._running
        number, words = self._labels.get(serial % LABELS, (0, None))
        if serial and self._running_fresh and words and number == serial and words[5] is None:
            self._labels[serial % LABELS] = serial, (*words[:4], owner, trace)

    # -- regions ---------------------------------------------------------------------

    def begin_region(self, task: Any, name: int, /) -> int:
        """A task begins a region; return its key, 0 for one that is not recorded."""
        if not isinstance(task, asyncio.Task) or len(self._open) >= OPEN_REGIONS:
            return 0
        serial, fresh = self._number_of(task)  # pyright: ignore[reportUnknownArgumentType]
        if fresh:
            self._labels[serial % LABELS] = serial, self._words(task)  # pyright: ignore[reportUnknownArgumentType]
        self._keys += 1
        self._open[self._keys] = serial, name, time.monotonic_ns()
        return self._keys

    def end_region(self, key: int, /) -> None:
        """Record a region that began."""
        found = self._open.pop(key, None)
        if found is None:
            return
        serial, name, began = found
        place = self._total % self._capacity * 5
        ended = time.monotonic_ns()
        self._ring[place : place + 5] = array("Q", (began, began, ended, serial, REGION + name))
        self._total += 1
        self._regions += 1

    def open_regions(self) -> list[tuple[int, int, int]]:
        """Return task, name and begin of those that have not ended."""
        return list(self._open.values())

    # -- in the loop's thread ------------------------------------------------------

    def enter(self, task: int, began: int, fresh: bool) -> tuple[int, int, bool]:
        """A step begins; return what was running before."""
        before = self._running, self._running_since, self._running_fresh
        self._running, self._running_since, self._running_fresh = task, began, fresh
        return before

    def leave(self, before: tuple[int, int, bool], event: tuple[int, int, int, int, int]) -> None:
        """A step has ended."""
        self._running, self._running_since, self._running_fresh = before
        place = self._total % self._capacity * 5
        self._ring[place : place + 5] = array("Q", event)
        self._total += 1
        waited, lasted = event[1] - event[0], event[2] - event[1]
        self._ready[bucket(waited)] += 1
        self._step[bucket(lasted)] += 1
        self._ready_sum += waited
        self._step_sum += lasted

    def waker(self) -> int:
        """Return the number of the task whose step is under way; 0 for none."""
        return self._running

    def number(self, callback: Callable[..., Any]) -> tuple[int, bool]:
        """Return the number of the task whose step a callback is, 0 for any other, and whether it is new."""
        task = _task_of(callback)
        return (0, False) if task is None else self._number_of(task)

    def _number_of(self, task: asyncio.Task[Any]) -> tuple[int, bool]:
        known = self._known.get(id(task))
        if known is not None and known[0]() is task:
            return known[1], False
        if len(self._known) > LABELS:
            self._known = {key: one for key, one in self._known.items() if one[0]() is not None}
        self._serials += 1
        self._known[id(task)] = ref(task), self._serials
        return self._serials, True

    def describe(self, serial: int, callback: Callable[..., Any]) -> None:
        """Keep the words for a task at its first step: who makes a task names it after scheduling it."""
        task = _task_of(callback)
        if task is not None:
            self._labels[serial % LABELS] = serial, self._words(task)

    def _words(self, task: asyncio.Task[Any]) -> Label:
        code = getattr(task.get_coro(), "cr_code", None)
        if not isinstance(task, self._tracked):
            return task.get_name(), code, None, None, None, None
        site, lasti, owner = (getattr(task, name, None) for name in ("_site", "_lasti", "_owner"))
        # The owner's words and not itself: it could hold anything.
        if owner is None:
            return task.get_name(), code, site, lasti, None, None
        return task.get_name(), code, site, lasti, owner.name, owner.trace_id

    def describe_owner(self, serial: int, callback: Callable[..., Any]) -> None:
        """Look for the owner once more: a server's task belongs to a request only from within its first step on."""
        number, words = self._labels.get(serial % LABELS, (0, None))
        owner = getattr(_task_of(callback), "_owner", None)
        if words is not None and number == serial and words[5] is None and owner is not None:
            told = (*words[:4], owner.name, owner.trace_id)
            self._labels[serial % LABELS] = serial, told


def _task_of(callback: Callable[..., Any]) -> asyncio.Task[Any] | None:
    kind = type(callback).__name__
    if kind == _FIRST_STEP or (
        kind == "builtin_function_or_method" and callback.__name__ == _WAKE_UP
    ):
        task: Any = callback.__self__  # type: ignore[attr-defined]
        if isinstance(task, asyncio.Task):
            return task  # pyright: ignore[reportUnknownVariableType]
    return None


class _Step:
    """A callback of the loop that is recorded; it passes for the callback itself."""

    __slots__ = ("_callback", "_fresh", "_ready", "_recorder", "_task", "_waker")

    def __init__(self, recorder: PureRecorder, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self._recorder = recorder
        self._task, self._fresh = recorder.number(callback)
        self._waker = recorder.waker()
        self._ready = time.monotonic_ns()

    def __call__(self, *args: Any) -> Any:
        if self._fresh:
            self._recorder.describe(self._task, self._callback)
        began = time.monotonic_ns()
        before = self._recorder.enter(self._task, began, self._fresh)
        try:
            return self._callback(*args)
        finally:
            ended = time.monotonic_ns()
            self._recorder.leave(before, (self._ready, began, ended, self._task, self._waker))
            if self._fresh:
                self._recorder.describe_owner(self._task, self._callback)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._callback, name)

    def __repr__(self) -> str:
        return repr(self._callback)

    def __eq__(self, other: object) -> bool:
        return bool(self._callback == (other._callback if isinstance(other, _Step) else other))

    def __hash__(self) -> int:
        return hash(self._callback)
