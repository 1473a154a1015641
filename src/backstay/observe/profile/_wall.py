"""The wall profile: where tasks spend their lives, waiting and running alike.

A process has thousands of tasks and most of them wait, so not all of them are looked
at each time: of N that do not run, k are drawn, and each stands for N / k. The
task that runs is always looked at and stands for itself.

The look is taken from another thread, which gets its turn when the loop lets go of the
interpreter's lock. So Python code of the running task is met too seldom, and blocking
calls are met exactly; for processor time there is the CPU profile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from backstay._base import Chance, now, wall
from backstay.observe.profile._asked import Wait
from backstay.observe.profile._profile import Profile, Table, add, gathered
from backstay.observe.profile._tasks import TaskLine, line_of, running_task
from backstay.tasks import installed_loops, live_tasks

__all__ = ["WALL_KINDS", "WallSampler", "sampled", "wall_profile"]

WALL_KINDS = (("samples", "count"), ("wall", "nanoseconds"))

# Waiting tasks looked at each time, of each loop; 20 to 50 microseconds each.
_DRAWN = 16
_EVERY_S = 0.05  # between two looks
_SHARE = 25  # a look takes at most one of so many parts of the time, or the next one comes later
_MOST_STACKS = 50_000


class WallSampler:
    """Draws tasks and counts the time that they stand for.

    Attributes:
        table: samples and nanoseconds by stack and labels.
        left_out: looks that found a new stack when there were too many.
    """

    def __init__(self, keep: Callable[[TaskLine], bool] = lambda line: True) -> None:
        """Prepare.

        Args:
            keep: which tasks count.
        """
        self.table: Table = {}
        self.left_out = 0
        self._keep = keep
        self._chance = Chance()

    def look(self, elapsed_s: float) -> None:
        """Look once at every tracked loop; `elapsed_s` seconds have passed since the last look."""
        for loop in installed_loops():
            self._look_at(loop, elapsed_s * 1e9)

    def _look_at(self, loop: asyncio.AbstractEventLoop, elapsed_ns: float) -> None:
        tasks = live_tasks(loop)
        running = running_task(loop)
        if running is not None and running in tasks:
            tasks.remove(running)
            self._count(line_of(running, running=True), elapsed_ns)
        drawn = self._chance.sample(tasks, min(_DRAWN, len(tasks)))
        for task in drawn:
            self._count(line_of(task, running=False), elapsed_ns * len(tasks) / len(drawn))

    def _count(self, line: TaskLine | None, stands_for_ns: float) -> None:
        if line is None or not self._keep(line):
            return
        labels = line.labels()
        if line.trace_id:
            labels = (*labels, ("trace_id", line.trace_id))
        key = line.stack, labels
        if key not in self.table and len(self.table) >= _MOST_STACKS:
            self.left_out += 1
            return
        add(self.table, key, (1, round(stands_for_ns)))


class _Sampler(Protocol):
    def look(self, elapsed_s: float) -> None: ...


def sampled(sampler: _Sampler, seconds: float, wait: Wait) -> None:
    """Let a sampler look for some seconds, more seldom where a look is dear."""
    last = now()
    until = last + seconds
    pause = _EVERY_S
    while (left := until - now()) > 0 and not wait(min(pause, left)):
        at = now()
        sampler.look(at - last)
        last = at
        pause = max(_EVERY_S, (now() - at) * _SHARE)


def wall_profile(seconds: float, wait: Wait) -> Profile:
    """Sample where all tasks are for some seconds.

    Args:
        seconds: how long.
        wait: how to wait; may be cut short.

    Returns:
        Samples and nanoseconds by stack and labels; together about as many seconds of
        life as there were tasks, times the seconds that it took.

    Cost: at most 4 % of one processor, in the thread that calls.
    """
    sampler = WallSampler()
    began = wall()
    sampled(sampler, seconds, wait)
    comments = [
        f"of each loop's waiting tasks, {_DRAWN} were drawn at each look and scaled to their number"
    ]
    if sampler.left_out:
        comments.append(f"{sampler.left_out} samples of further stacks were left out")
    return Profile(
        WALL_KINDS,
        gathered(sampler.table),
        ("wall", "nanoseconds"),
        round(_EVERY_S * 1e9),
        taken_at=began,
        duration_s=wall() - began,
        comments=tuple(comments),
        default="wall",
    )
