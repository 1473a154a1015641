"""What was recorded, as plain values, and what can be said of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

__all__ = ["Region", "Step", "Trace", "TraceTask"]

_LONGEST = 20  # steps told one by one
_STEPS_AT_MOST = 2_000  # of one task in a timeline
_TICK_S = 1e-9  # of the clock: a shorter pause is what is left of rounding


class Step(NamedTuple):
    """One step of a task, or one callback of the loop that is no task's. Seconds of the monotonic clock."""

    ready: float  # when it was scheduled
    begin: float
    end: float
    task: int  # place in `Trace.tasks`; -1 for none
    waker: int  # whose step has scheduled it; -1 for a timer, a socket or another thread
    loop: int
    lasts: bool = False  # not over yet


class Region(NamedTuple):
    """A stretch of a task's life that the program has named. Seconds of the monotonic clock."""

    begin: float
    end: float
    task: int  # place in `Trace.tasks`
    name: str
    lasts: bool = False  # not over yet


@dataclass(frozen=True, slots=True)
class TraceTask:
    """A task that ran in a trace.

    Attributes:
        name: of the task; "?" when its name was overwritten by later ones.
        function: qualified name of its coroutine function.
        site: "path:line" where it was started; "" when it is not tracked.
        owner: name of its scope; "" likewise.
        trace_id: of the request that has started it; "" for none.
        loop: which loop it runs on, from 0.
        done: whether it has ended.
        wait: what it waits for now; "" when it does not.
    """

    name: str
    function: str
    site: str
    owner: str
    trace_id: str
    loop: int
    done: bool
    wait: str


@dataclass(frozen=True, slots=True)
class Trace:
    """Some seconds of a process.

    *Ready latency* is the time from being scheduled to being run: Go's scheduler latency. *Step
    duration* is how long the loop was held: nothing interrupts it, so the longest step bounds
    everybody's ready latency.

    Attributes:
        recording: whether the recorder is still at work.
        from_s: seconds of the monotonic clock at its begin.
        to_s: likewise at its end.
        lost: events that were overwritten since the recorder was started.
        steps: by their begin.
        tasks: that have run in it.
        regions: that have ended in it, or not yet; by their begin.
    """

    recording: bool
    from_s: float
    to_s: float
    lost: int
    steps: tuple[Step, ...]
    tasks: tuple[TraceTask, ...]
    regions: tuple[Region, ...] = ()

    def newest(self, most: int) -> Trace:
        """Return the same with the last steps only; what came before them counts as lost."""
        if len(self.steps) <= most:
            return self
        kept = self.steps[-most:]
        from_s = min(step.ready for step in kept)
        return replace(
            self,
            steps=kept,
            regions=tuple(region for region in self.regions if region.end >= from_s),
            from_s=from_s,
            lost=self.lost + len(self.steps) - most,
        )

    def ready_latency(self, *shares: float) -> list[float]:
        """Return percentiles of the ready latency, in seconds: 0.5 is the median, 1.0 the longest."""
        return _percentiles([step.begin - step.ready for step in self.steps], shares)

    def step_duration(self, *shares: float) -> list[float]:
        """Return percentiles of the step duration, in seconds."""
        return _percentiles([step.end - step.begin for step in self.steps], shares)

    def longest(self, most: int = _LONGEST) -> list[Step]:
        """Return the longest steps, longest first: who has held the loop."""
        return sorted(self.steps, key=lambda step: step.begin - step.end)[:most]

    def wakes(self, most: int = _LONGEST) -> list[tuple[str, str, int]]:
        """Return who has woken whom, and how often, as functions; the most frequent first."""
        counts: dict[tuple[str, str], int] = {}
        for step in self.steps:
            if step.task >= 0:
                pair = self._function(step.waker), self._function(step.task)
                counts[pair] = counts.get(pair, 0) + 1
        ranked = sorted(counts.items(), key=lambda item: -item[1])[:most]
        return [(waker, woken, count) for (waker, woken), count in ranked]

    def availability(self, windows: Iterable[float]) -> list[tuple[float, float]]:
        """Return, for windows of so many seconds, the least share of one in which a loop was free.

        What Go calls minimum mutator utilisation, of the loop: 0 for a window of 0.1 s means that
        somewhere the loop was held for 0.1 s without a pause. The minimum lies where a window
        begins or ends with a step, so only those are looked at.

        Cost: a pass over the steps for each window.
        """
        return [(window, self._least_free(window)) for window in windows]

    def path_of(self, trace_id: str) -> list[Step]:
        """Return the critical path of a request: the steps that its last one had to wait for, in order.

        Args:
            trace_id: of the request.

        Returns:
            Each step was scheduled by the one before it, as far as that is recorded; empty when nothing
            of the request is.
        """
        mine = {at for at, task in enumerate(self.tasks) if task.trace_id == trace_id}
        steps = [step for step in self.steps if step.task in mine]
        if not steps:
            return []
        by_task: dict[int, list[Step]] = {}
        for step in self.steps:
            by_task.setdefault(step.task, []).append(step)
        path = [max(steps, key=lambda step: step.end)]
        began = min(step.ready for step in steps)
        while len(path) < len(self.steps):
            before = _cause_of(path[-1], by_task)
            if before is None or before.end < began:  # what was before the request is no part of it
                break
            path.append(before)
        return path[::-1]

    def shares(self) -> Iterator[tuple[Region, float, float]]:
        """Return each region with the seconds in which its task ran, and was ready and waited for its turn.

        What is left of it the task has waited for something else. Only what is in the trace counts.

        Cost: two searches a region and a look at each of its steps.
        """
        by_task: dict[int, list[Step]] = {}
        for step in self.steps:
            by_task.setdefault(step.task, []).append(step)
        for region in self.regions:
            steps = by_task.get(region.task, [])
            first = bisect_right(steps, region.begin, key=lambda step: step.end)
            run = ready = 0.0
            over = (
                region.begin
            )  # a task may schedule itself: until its step is over it is not ready, but runs
            for step in steps[first:]:
                if step.ready >= region.end:
                    break
                run += max(0.0, min(step.end, region.end) - max(step.begin, region.begin))
                ready += max(0.0, min(step.begin, region.end) - max(step.ready, over))
                over = max(over, step.end)
            yield region, run, ready

    def to_timeline(self, top: int = 50) -> dict[str, Any]:
        """Return the document of ``/v1/timeline``: the tasks that ran or waited for their turn longest."""
        by_task: dict[int, list[Step]] = {}
        for step in self.steps:
            if step.task >= 0:
                by_task.setdefault(step.task, []).append(step)
        shown = sorted(by_task, key=lambda at: -sum(one.end - one.ready for one in by_task[at]))
        places = {at: row for row, at in enumerate(shown[:top])}
        return {
            "recording": self.recording,
            "why": "",
            "from": self.from_s,
            "to": self.to_s,
            "lost": self.lost,
            "tracks": [self._track(at, by_task[at], places) for at in places],
            "longest": [
                {
                    "task": self._name(step.task),
                    "site": self._site(step.task),
                    "s": round(step.end - step.begin, 9),
                    "at": step.begin,
                }
                for step in self.longest()
            ],
        }

    def _track(self, at: int, steps: list[Step], places: dict[int, int]) -> dict[str, Any]:
        task = self.tasks[at]
        return {
            "task": task.name,
            "function": task.function,
            "site": task.site,
            "owner": task.owner,
            "trace_id": task.trace_id,
            "run_s": sum(one.end - one.begin for one in steps),
            "ready_s": sum(one.begin - one.ready for one in steps),
            "wait": task.wait,
            "done": task.done,
            "steps": [
                [one.ready, one.begin, one.end, places.get(one.waker, -1)]
                for one in steps[-_STEPS_AT_MOST:]
            ],
        }

    def _name(self, at: int) -> str:
        return self.tasks[at].name if at >= 0 else "(a callback)"

    def _function(self, at: int) -> str:
        if at < 0:
            return "(the loop)"
        return self.tasks[at].function or self.tasks[at].name

    def _site(self, at: int) -> str:
        return self.tasks[at].site if at >= 0 else ""

    def _least_free(self, window: float) -> float:
        span = self.to_s - self.from_s
        if not self.steps or window <= 0 or span <= 0:
            return 1.0
        window = min(window, span)
        least = min(
            _least_free_of([step for step in self.steps if step.loop == loop], window)
            for loop in {step.loop for step in self.steps}
        )
        return least if least * window >= _TICK_S else 0.0


def _least_free_of(steps: list[Step], window: float) -> float:
    """Slide a window over steps that follow each other; return the least share that is free."""
    busy = [0.0]
    for step in steps:
        busy.append(busy[-1] + step.end - step.begin)
    least = 1.0
    last = 0
    for first, step in enumerate(steps):  # the window begins with this step
        until = step.begin + window
        last = max(last, first)
        while last < len(steps) and steps[last].end <= until:
            last += 1
        held = busy[last] - busy[first]
        if last < len(steps):
            held += max(0.0, until - steps[last].begin)
        least = min(least, 1.0 - held / window)
    first = 0
    for last, step in enumerate(steps):  # the window ends with this step
        since = step.end - window
        while steps[first].end <= since:
            first += 1
        held = busy[last + 1] - busy[first] - max(0.0, since - steps[first].begin)
        least = min(least, 1.0 - held / window)
    return max(0.0, least)


def _cause_of(step: Step, by_task: dict[int, list[Step]]) -> Step | None:
    """Return the step that has scheduled this one, or the one before it of the same task."""
    if step.waker >= 0:
        candidate = _last_begun(by_task.get(step.waker, []), step)
        if candidate is not None and step.ready <= candidate.end:
            return candidate
    earlier = _last_begun(by_task.get(step.task, []), step)
    return earlier if earlier is not None and earlier.end <= step.ready else None


def _last_begun(steps: list[Step], later: Step) -> Step | None:
    """Return the last of some steps, which are by their begin, that had begun when another got ready."""
    place = bisect_right(steps, later.ready, key=lambda step: step.begin)
    if place and steps[place - 1] is later:  # one that is under way counts as ready at its begin
        place -= 1
    return steps[place - 1] if place else None


def _percentiles(values: list[float], shares: tuple[float, ...]) -> list[float]:
    ordered = sorted(values)
    if not ordered:
        return [0.0 for _ in shares]
    return [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in shares]
