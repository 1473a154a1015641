"""Whatever loops do to their queues, in any order: each job is started exactly once, and none starves.

The queues are plain state, so no thread is needed: a program is a list of
steps, and the model is the set of jobs that were put in.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.multiloop._run_queue import (
    GLOBAL_EVERY,
    RunQueue,
    global_is_due,
    global_share,
)

PROCS = 3

steps = st.lists(
    st.one_of(
        st.tuples(st.just("spawn"), st.integers(0, PROCS - 1)),  # a job on a loop starts another
        st.tuples(st.just("inject"), st.integers(1, 5)),  # jobs come from outside
        st.tuples(st.just("start"), st.integers(0, PROCS - 1)),
        st.tuples(st.just("share"), st.integers(0, PROCS - 1)),
        st.tuples(st.just("steal"), st.integers(0, PROCS * PROCS - 1)),  # thief and victim
        st.tuples(st.just("hand off"), st.integers(0, PROCS - 1)),
        st.tuples(st.just("retire"), st.integers(0, PROCS - 1)),
    ),
    max_size=80,
)


class World:
    """Loops with small queues, and one queue for all."""

    def __init__(self) -> None:
        self.local: list[RunQueue[int]] = [RunQueue(4) for _ in range(PROCS)]
        self.all: RunQueue[int] = RunQueue(10**9)
        self.made = 0
        self.started: list[int] = []

    def make(self) -> int:
        self.made += 1
        return self.made - 1

    def put(self, at: int, jobs: list[int]) -> None:
        self.all.extend(self.local[at].extend(jobs))

    def step(self, what: str, at: int) -> None:
        if what == "spawn":
            self.put(at, [self.make()])
        elif what == "inject":
            self.all.extend([self.make() for _ in range(at)])
        elif what == "start":
            for job in self.local[at].heads(1):
                assert self.local[at].take(job)
                assert not self.local[at].take(job)
                self.started.append(job)
        elif what == "share":
            self.put(at, self.all.pop(global_share(len(self.all), PROCS, 4)))
        elif what == "steal":
            thief, victim = divmod(at, PROCS)
            before = len(self.local[victim])
            if thief != victim:
                got = self.local[victim].steal()
                assert len(got) == (before + 1) // 2
                self.put(thief, got)
        elif what == "hand off":
            self.all.extend(self.local[at].drain())
        else:
            self.local[at].closed = True
            self.all.extend(self.local[at].drain())

    def waiting(self) -> list[int]:
        return [job for queue in (*self.local, self.all) for job in queue.heads(10**9)]


@given(steps)
def test_every_job_is_in_one_place_or_has_started_once(program: list[tuple[str, int]]) -> None:
    """Nothing is lost, nothing is there twice, after every single step."""
    world = World()
    for what, at in program:
        world.step(what, at)
        assert sorted(world.waiting() + world.started) == list(range(world.made))
        assert all(len(queue) <= 5 for queue in world.local)
        assert all(not len(queue) for queue in world.local if queue.closed)


@given(st.integers(0, 500), st.integers(1, 16))
def test_shares_empty_the_global_queue(waiting: int, procs: int) -> None:
    """As long as something waits, the next loop that asks gets something."""
    queue: RunQueue[int] = RunQueue(10**9)
    queue.extend(range(waiting))
    taken: list[int] = []
    while len(queue):
        got = queue.pop(global_share(len(queue), procs, 256))
        assert got
        taken += got
    assert taken == list(range(waiting))


@settings(max_examples=30)
@given(st.integers(1, 5))
def test_a_loop_that_feeds_itself_starves_nobody(children: int) -> None:
    """A job in the global queue starts within 61 starts, however many the loop makes for itself."""
    local: RunQueue[str] = RunQueue(256)
    shared: RunQueue[str] = RunQueue(10**9)
    local.push("own")
    shared.push("overdue")
    tick = looked = 0
    while True:
        if global_is_due(tick, looked):
            looked = tick
            for job in shared.pop(1):
                local.push_first(job)
        job = local.pop(1)[0]
        tick += 1
        if job == "overdue":
            break
        shared.extend(local.extend(["own"] * children))
    assert tick <= GLOBAL_EVERY + 1
