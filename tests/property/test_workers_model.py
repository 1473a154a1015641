"""A pool of workers against a model: who waits for room, who is in line, who is at work, in which order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay import now
from backstay.guard._job import Job
from backstay.guard._workers import WorkerPool
from backstay.guard.rules.job_queue import JobOrder
from backstay.testing import run_virtual

STEP_S = 0.01
TICK_S = 0.00013  # after which what was due has happened

Plan = list[tuple[str, int, int]]
plans = st.lists(
    st.tuples(
        st.sampled_from([*["submit"] * 6, "cancel", "resize", "wait", "wait"]),
        st.integers(0, 30),
        st.sampled_from([0, 0, 1, 2, 5, 9]),  # steps until the next action
    ),
    min_size=5,
    max_size=60,
)


@dataclass
class Work:
    """One job, in the model."""

    number: int
    key: str | None
    lasts: float
    ends: float = 0.0


@dataclass
class Model:
    """Callers without room, jobs in line, and jobs at work."""

    workers: int
    room: int
    order: JobOrder
    outside: list[Work] = field(default_factory=list)
    line: list[Work] = field(default_factory=list)
    at_work: list[Work] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def settle(self, at: float) -> None:
        while True:
            keys = {work.key for work in self.at_work if work.key}
            could = [
                work
                for place, work in enumerate(self.line)
                if not work.key
                or (work.key not in keys and work.key not in {w.key for w in self.line[:place]})
            ]
            if could and len(self.at_work) < self.workers:
                work = could[0 if self.order == "fifo" else -1]
                self.line.remove(work)
                work.ends = at + work.lasts
                self.at_work.append(work)
            elif self.outside and len(self.line) + len(self.at_work) < self.workers + self.room:
                self.line.append(self.outside.pop(0))
            else:
                return

    def pass_time(self, until: float) -> None:
        while self.at_work:
            work = min(self.at_work, key=lambda work: work.ends)
            if work.ends > until:
                return
            self.at_work.remove(work)
            self.done.append(work.number)
            self.settle(work.ends)

    def cancel(self, number: int, at: float) -> None:
        for group in (self.outside, self.line, self.at_work):
            group[:] = [work for work in group if work.number != number]
        self.settle(at)


async def play(plan: Plan, workers: int, room: int, order: JobOrder) -> None:
    """Do what the plan says, for real and in the model, and compare after each step."""
    model = Model(workers, room, order)
    at_work: set[int] = set()
    done: list[int] = []
    jobs: dict[int, Job[None]] = {}
    callers: dict[int, asyncio.Task[None]] = {}

    async def work(number: int, key: str | None, lasts: float) -> None:
        at_work.add(number)
        try:
            await asyncio.sleep(lasts)
            done.append(number)
        finally:
            at_work.discard(number)

    async def submit(number: int, key: str | None, lasts: float) -> None:
        jobs[number] = await pool.submit(number, key, lasts)

    pool = WorkerPool(
        work, workers=workers, queue=room, order=order, key=lambda _, key, __: key, drain=100
    )
    async with pool:
        for number, (what, dice, pause) in enumerate(plan):
            if what == "submit":
                key = [None, None, "a", "b"][dice % 4]
                lasts = (1 + dice % 7) * STEP_S + number * 1e-6  # no two end in one moment
                callers[number] = asyncio.create_task(submit(number, key, lasts))
                model.outside.append(Work(number, key, lasts))
                model.settle(now())
            elif what == "cancel" and callers:
                chosen = list(callers)[dice % len(callers)]
                callers[chosen].cancel()
                if chosen in jobs:
                    jobs[chosen].cancel()
                model.cancel(chosen, now())
            elif what == "resize":
                pool.update(workers=1 + dice % 4, queue=dice % 3)
                model.workers, model.room = 1 + dice % 4, dice % 3
                model.settle(now())
            await asyncio.sleep(pause * STEP_S + TICK_S)
            model.pass_time(now())
            assert at_work == {work.number for work in model.at_work}, (number, what)
            assert done == model.done
            statistics = pool.statistics()
            assert statistics.queued == len(model.line)
            assert statistics.submitting == len(model.outside)
        await asyncio.gather(*callers.values(), return_exceptions=True)
        model.pass_time(now())
    model.pass_time(float("inf"))
    assert done == model.done


@settings(max_examples=250, deadline=None)
@given(plans, st.integers(1, 3), st.integers(0, 3), st.sampled_from(["fifo", "lifo"]))
def test_workers_are_places_and_a_line(
    plan: Plan, workers: int, room: int, order: JobOrder
) -> None:
    """Whatever is handed over, cancelled and resized, when."""
    run_virtual(lambda: play(plan, workers, room, order))
