"""The queues behind locks against small models, under every order of taking, leaving and cancelling.

The models are what the documentation says, in ten lines each; time is virtual and
long enough between two actions that a mutex is always in its fair mode.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.sync import Mutex, RWMutex, Semaphore
from backstay.testing import run_virtual

ACTORS = 5


@dataclass
class Actor:
    """A task that takes when told to, and lets go when told to."""

    task: asyncio.Task[None] | None = None
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    inside: bool = False

    async def visit(self, block: Any) -> None:
        """Hold `block` until told to leave."""
        async with block:
            self.inside = True
            try:
                await self.leave.wait()
            finally:
                self.inside = False


Actions = list[tuple[str, int, int]]
actions = st.lists(
    st.tuples(
        st.sampled_from(["take", "leave", "cancel"]), st.integers(0, ACTORS - 1), st.integers(1, 3)
    ),
    max_size=40,
)


async def play(plan: Actions, block_of: Any, model: Any) -> None:
    """Do what the plan says, for real and in the model, and compare after each step."""
    actors = {n: Actor() for n in range(ACTORS)}
    for action, number, want in plan:
        actor = actors[number]
        busy = actor.task is not None and not actor.task.done()
        if action == "take" and not busy:
            actor.leave = asyncio.Event()
            actor.task = asyncio.create_task(actor.visit(block_of(want)))
            model.take(number, want)
        elif action == "leave" and busy and actor.inside:
            actor.leave.set()
            model.drop(number)
        elif action == "cancel" and busy:
            assert actor.task is not None
            actor.task.cancel()
            model.drop(number)
        await asyncio.sleep(1)
        assert {n for n, a in actors.items() if a.inside} == set(model.inside), (
            action,
            number,
            want,
        )
    for actor in actors.values():
        if actor.task is not None:
            actor.task.cancel()
            await asyncio.wait([actor.task])


class Places:
    """Strictly first come, first served; the first in line holds up everybody behind."""

    def __init__(self, size: int) -> None:
        self.free = size
        self.inside: dict[int, int] = {}
        self.line: list[tuple[int, int]] = []

    def take(self, number: int, want: int) -> None:
        self.line.append((number, want))
        self.serve()

    def drop(self, number: int) -> None:
        self.free += self.inside.pop(number, 0)
        self.line = [entry for entry in self.line if entry[0] != number]
        self.serve()

    def serve(self) -> None:
        while self.line and self.line[0][1] <= self.free:
            number, want = self.line.pop(0)
            self.free -= want
            self.inside[number] = want


class Library:
    """Readers (want 1 or 2) together, writers (want 3) alone; batches of readers and single writers in turn."""

    def __init__(self) -> None:
        self.inside: dict[int, int] = {}
        self.readers: list[int] = []
        self.writers: list[int] = []

    def writing(self) -> bool:
        return 3 in self.inside.values()

    def take(self, number: int, want: int) -> None:
        if want == 3:
            self.writers.append(number)
        else:
            self.readers.append(number)
        self.serve(after_writer=False)

    def drop(self, number: int) -> None:
        after_writer = self.inside.pop(number, 0) == 3
        self.readers = [n for n in self.readers if n != number]
        self.writers = [n for n in self.writers if n != number]
        self.serve(after_writer=after_writer)

    def serve(self, *, after_writer: bool) -> None:
        if self.writing():
            return
        if after_writer or not self.writers:
            self.inside |= dict.fromkeys(self.readers, 1)
            self.readers.clear()
        if self.writers and not self.inside:
            self.inside[self.writers.pop(0)] = 3


@settings(max_examples=300, deadline=None)
@given(actions)
def test_a_mutex_is_a_line_for_one_place(plan: Actions) -> None:
    """Whoever holds it is who the line says, whatever is cancelled when."""

    async def main() -> None:
        mutex = Mutex()
        await play([(a, n, 1) for a, n, _ in plan], lambda _: mutex, Places(1))
        assert not mutex.locked()
        assert mutex.statistics().waiting == 0

    run_virtual(main)


@settings(max_examples=300, deadline=None)
@given(actions)
def test_a_semaphore_is_a_line_for_three_places(plan: Actions) -> None:
    """Different weights, and a first in line that holds up the rest."""

    async def main() -> None:
        semaphore = Semaphore(3)
        await play(plan, semaphore.places, Places(3))
        assert semaphore.free == 3

    run_virtual(main)


@settings(max_examples=300, deadline=None)
@given(actions)
def test_readers_and_writers_take_turns(plan: Actions) -> None:
    """Who is inside is who the rules say: batches of readers, single writers."""

    async def main() -> None:
        rw = RWMutex()
        await play(plan, lambda want: rw.write if want == 3 else rw.read, Library())
        statistics = rw.statistics()
        assert (statistics.readers, statistics.writer) == (0, None)

    run_virtual(main)
