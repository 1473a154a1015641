"""What the rings held at one moment, copied and not yet understood, so that the process is held up as little as can be.

A capture is taken within a process that serves requests, so it copies bytes and looks up words; what
takes time, making steps out of them, is done by whoever reads it: later, or elsewhere.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import ref

from backstay.observe.recorder._pure import EVENT, REGION
from backstay.observe.recorder._trace import Region, Step, Trace, TraceTask
from backstay.tasks import blocked_on, resolve_site

__all__ = ["MOST_EVENTS", "Capture", "RingCapture", "take", "understand"]

#: Events that one look returns of a loop: more would take seconds to read and nobody could look at them.
MOST_EVENTS: Final = 200_000
#: What is done before the loop gets a chance to run: some 10,000 numbers or 50 tasks.
_NUMBERS_AT_ONCE: Final = 10_000
_TASKS_AT_ONCE: Final = 50

_WORDS: Final = EVENT.size // 8  # numbers of an event


@dataclass(frozen=True, slots=True)
class RingCapture:
    """What the ring of one loop held.

    Attributes:
        events: as they stand in the ring, oldest first.
        tasks: by their numbers.
        running: number of the task whose step was under way; 0 for none.
        running_since: nanoseconds of the monotonic clock.
        regions: that were open: number of the task, of the name, and nanoseconds of the begin.
    """

    events: bytes
    tasks: dict[int, TraceTask]
    running: int
    running_since: int
    regions: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """What all rings held; nanoseconds of the monotonic clock.

    Attributes:
        recording: whether the recorder was at work.
        since: the begin of what was asked for.
        to: when it was taken.
        lost: events that had been overwritten.
        names: of regions, by their numbers.
        rings: one of each loop.
    """

    recording: bool
    since: int
    to: int
    lost: int
    names: Sequence[str]
    rings: tuple[RingCapture, ...]


def take(
    rings: Sequence[Any], recording: bool, last: float, names: Sequence[str], most: int
) -> Capture:
    """Copy what has happened in the last seconds; callable from any thread.

    Args:
        rings: of the loops.
        recording: whether they are at work.
        last: seconds.
        names: of regions.
        most: events of each ring.

    Cost: with 200,000 steps 0.3 s in all, of which the loop stood still for 10 ms at a time, once for 27 ms (Python 3.11,
    two busy cores): the copy of the ring is one piece, all else lets the loop run in between.
    """
    to = time.monotonic_ns()
    since = max(0, to - int(last * 1e9))
    taken: list[RingCapture] = []
    lost = 0
    for number, ring in enumerate(rings):
        lost += ring.state()["lost"]
        taken.append(_take_one(number, ring, since, most))
    return Capture(recording, since, to, lost, tuple(names), tuple(taken))


def _take_one(loop: int, ring: Any, since: int, most: int) -> RingCapture:
    regions = tuple(ring.open_regions())  # first: one that ends meanwhile is among the events too
    events: bytes = ring.events(since, most)
    state = ring.state()  # last: a step that ends meanwhile is not told twice
    numbers = {state["running"], *(task for task, _, _ in regions)}
    for some in _numbers(events):
        numbers |= some
    numbers.discard(0)
    living = {serial: ref(task) for serial, task in ring.living().items()}  # that may end meanwhile
    tasks: dict[int, TraceTask] = {}
    for done, serial in enumerate(sorted(numbers)):
        tasks[serial] = _described(loop, ring.label(serial), living.get(serial, _no_task)())
        if done % _TASKS_AT_ONCE == 0:
            time.sleep(0)
    return RingCapture(events, tasks, state["running"], state["running_since"], regions)


def _no_task() -> None:
    return None


def _numbers(events: bytes) -> Iterator[set[int]]:
    """Return the numbers of tasks and wakers, some at a time."""
    at_once = _NUMBERS_AT_ONCE * EVENT.size
    for begin in range(0, len(events), at_once):
        some = array("Q", events[begin : begin + at_once])
        wakers = set(some[4::_WORDS])
        yield set(some[3::_WORDS]) | {waker for waker in wakers if waker < REGION}
        time.sleep(0)


def _described(loop: int, label: Any, task: Any) -> TraceTask:
    name, code, site_code, lasti, owner, trace_id = label or ("?", None, None, None, None, None)
    site = resolve_site(site_code, -1 if lasti is None else lasti)
    waits = None if task is None or task.done() else blocked_on(task)
    return TraceTask(
        name=str(name),
        function="" if code is None else code.co_qualname,
        site="" if site is None else str(site),
        owner=owner or "",
        trace_id=trace_id or "",
        loop=loop,
        done=task is None or task.done(),
        wait="" if waits is None else f"{waits.label} {waits.detail}".strip(),
    )


def understand(capture: Capture) -> Trace:
    """Make steps, regions and tasks of a capture.

    Cost: about 2 microseconds an event.
    """
    steps: list[Step] = []
    regions: list[Region] = []
    tasks: list[TraceTask] = []
    for loop, ring in enumerate(capture.rings):
        _Reading(capture, loop, steps, regions, tasks).read(ring)
    steps.sort(key=lambda step: step.begin)
    regions.sort(key=lambda region: (region.begin, -region.end))
    # What was overwritten had steps of its own: a region that is older says nothing of the begin.
    begins = [step.ready for step in steps]
    begins += [] if capture.lost else [region.begin for region in regions]
    to = capture.to / 1e9
    began = min(begins, default=to)
    return Trace(
        recording=capture.recording,
        from_s=max(capture.since / 1e9, min(began, to)),
        to_s=to,
        lost=capture.lost,
        steps=tuple(steps),
        tasks=tuple(tasks),
        regions=tuple(regions),
    )


class _Reading:
    """Reads one ring into the lists of all."""

    def __init__(
        self,
        capture: Capture,
        loop: int,
        steps: list[Step],
        regions: list[Region],
        tasks: list[TraceTask],
    ) -> None:
        self._capture, self._loop = capture, loop
        self._steps, self._regions, self._tasks = steps, regions, tasks
        self._places: dict[int, int] = {0: -1}

    def read(self, ring: RingCapture) -> None:
        to, loop = self._capture.to, self._loop
        ended: set[tuple[int, int]] = set()
        for ready, begin, end, task, waker in EVENT.iter_unpack(ring.events):
            if end > to:  # has ended since
                break
            place = self._place(ring, task)
            if waker >= REGION:
                ended.add((task, begin))
                name = self._name(waker - REGION)
                self._regions.append(Region(begin / 1e9, end / 1e9, place, name))
                continue
            woken_by = self._place(ring, waker)
            self._steps.append(Step(ready / 1e9, begin / 1e9, end / 1e9, place, woken_by, loop))
        if ring.running:  # under way, for as long as the loop is blocked
            begin_s = min(ring.running_since, to) / 1e9
            place = self._place(ring, ring.running)
            self._steps.append(Step(begin_s, begin_s, to / 1e9, place, -1, loop, lasts=True))
        for task, name_at, begin in ring.regions:
            if begin <= to and (task, begin) not in ended:
                place, name = self._place(ring, task), self._name(name_at)
                self._regions.append(Region(begin / 1e9, to / 1e9, place, name, lasts=True))

    def _place(self, ring: RingCapture, serial: int) -> int:
        found = self._places.get(serial)
        if found is None:
            found = self._places[serial] = len(self._tasks)
            unknown = TraceTask("?", "", "", "", "", self._loop, True, "")
            self._tasks.append(ring.tasks.get(serial, unknown))
        return found

    def _name(self, at: int) -> str:
        names = self._capture.names
        return names[at] if at < len(names) else "?"
