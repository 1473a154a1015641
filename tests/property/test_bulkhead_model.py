"""The bulkhead against a model in thirty lines: who is in, who waits, who was sent away, in which order.

The model states CoDel as the paper does: patience is `target` once the line has not
been empty for `interval`, and `interval` before that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay import now
from backstay.errors import FullError
from backstay.guard._bulkhead import Bulkhead
from backstay.testing import run_virtual

ACTORS = 7
TARGET_S = 0.0503  # odd ends, so that no two things are due at one moment
INTERVAL_S = 0.1007

Plan = list[tuple[str, int, int]]
plans = st.lists(
    st.tuples(
        st.sampled_from([*["come"] * 6, "go", "go", "cancel", "resize"]),
        st.integers(0, ACTORS - 1),
        st.sampled_from([0, 1, 2, 5, 10, 20, 40, 80]),  # milliseconds until the next action
    ),
    min_size=10,
    max_size=80,
)


@dataclass
class Model:
    """Places, and a line.

    Attributes:
        n: places.
        room: in line.
        inside: who is in.
        line: who waits, and since when; the oldest first.
        away: who was sent away.
        since: when the line was last empty.
        dropped: when somebody was last sent away from this line.
    """

    n: int
    room: int
    inside: set[int] = field(default_factory=set)
    line: list[tuple[int, float]] = field(default_factory=list)
    away: set[int] = field(default_factory=set)
    since: float = 0.0
    dropped: float = -1.0

    def come(self, who: int, at: float) -> None:
        self.away.discard(who)
        if len(self.inside) < self.n and not self.line:
            self.inside.add(who)
        elif len(self.line) >= self.room:
            self.away.add(who)
        else:
            if not self.line:
                self.since, self.dropped = at, -1.0
            self.line.append((who, at))

    def leave(self, who: int, at: float) -> None:
        self.inside.discard(who)
        self.line = [entry for entry in self.line if entry[0] != who]
        self.serve(at)

    def serve(self, at: float) -> None:
        newest = self.dropped >= 0 and at - self.dropped <= INTERVAL_S
        while self.line and len(self.inside) < self.n:
            self.inside.add(self.line.pop(-1 if newest else 0)[0])

    def pass_time(self, until: float) -> None:
        while self.line:
            who, came = self.line[0]
            late = min(came + INTERVAL_S, max(self.since + INTERVAL_S, came + TARGET_S))
            if late > until:
                return
            self.line.pop(0)
            self.away.add(who)
            self.dropped = late


@dataclass
class Actor:
    """A task that comes and goes as it is told."""

    task: asyncio.Task[None] | None = None
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    inside: bool = False
    away: bool = False

    async def visit(self, bulkhead: Bulkhead) -> None:
        try:
            async with bulkhead:
                self.inside = True
                try:
                    await self.leave.wait()
                finally:
                    self.inside = False
        except FullError:
            self.away = True

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()


async def play(plan: Plan, n: int, room: int) -> None:
    """Do what the plan says, for real and in the model, and compare after each step."""
    bulkhead = Bulkhead(n, room, name="b", target=TARGET_S, interval=INTERVAL_S)
    model = Model(n, room)
    actors = [Actor() for _ in range(ACTORS)]
    for what, who, pause in plan:
        actor = actors[who]
        at = now()
        if what == "come" and not actor.busy:
            actor.leave, actor.away = asyncio.Event(), False
            actor.task = asyncio.create_task(actor.visit(bulkhead))
            model.come(who, at)
        elif what == "go" and actor.inside:
            actor.leave.set()
            model.leave(who, at)
        elif what == "cancel" and actor.busy:
            assert actor.task is not None
            actor.task.cancel()
            model.leave(who, at)
        elif what == "resize":
            bulkhead.update(n=1 + who % 3)
            model.n = 1 + who % 3
            model.serve(at)
        await asyncio.sleep(pause / 1000 + 0.00013)
        model.pass_time(now())
        assert {i for i, a in enumerate(actors) if a.inside} == model.inside, (what, who)
        assert {i for i, a in enumerate(actors) if a.away} == model.away, (what, who)
        assert (bulkhead.in_flight, bulkhead.queued) == (len(model.inside), len(model.line))
        if model.line:
            assert isclose(bulkhead._rule.since or 0.0, model.since)
    for actor in actors:
        if actor.task is not None:
            actor.task.cancel()
            await asyncio.wait([actor.task])
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0)


@settings(max_examples=300, deadline=None)
@given(plans, st.integers(1, 2), st.integers(0, 5))
def test_a_bulkhead_is_places_and_a_line_with_patience(plan: Plan, n: int, room: int) -> None:
    """Whatever comes, goes, is cancelled and is resized, when."""
    run_virtual(lambda: play(plan, n, room))
