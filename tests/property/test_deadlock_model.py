"""Random programs that nest locks: a ring is told exactly when somebody will never go on.

The model is the program itself. Each of some tasks takes a random sequence of locks, one inside
of the other, in blocks, and lets them all go. While the program runs it is looked at after each
turn of the loop; in the end, when nothing moves any more, whoever has not ended is deadlocked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay import install
from backstay.leak import Finding
from backstay.leak._deadlock import deadlocks
from backstay.sync import Mutex, RWMutex, Semaphore

Block = Callable[[], Any]
LOCKS = 3


def blocks_of(kind: str) -> list[list[Block]]:
    """For each lock, the ways to take it."""
    made: list[list[Block]] = []
    for _ in range(LOCKS):
        if kind == "lock":
            lock: Any = asyncio.Lock()
            made.append([lambda lock=lock: lock])
        elif kind == "mutex":
            lock = Mutex("m")
            made.append([lambda lock=lock: lock])
        elif kind == "rwmutex":
            lock = RWMutex("rw")
            made.append([lambda lock=lock: lock.read, lambda lock=lock: lock.write])
        elif kind == "bounded":
            lock = asyncio.BoundedSemaphore(2)
            made.append([lambda lock=lock: lock])
        else:
            lock = Semaphore(2, name="s")
            made.append([lambda lock=lock: lock, lambda lock=lock: lock.places(2)])
    return made


async def nest(plan: list[Block]) -> None:
    """Take the locks of `plan`, one inside of the other, with a turn of the loop between."""
    if not plan:
        return
    async with plan[0]():
        await asyncio.sleep(0)
        await nest(plan[1:])


async def play(plans: list[list[Block]]) -> tuple[list[Finding], list[list[Finding]], int]:
    """Run all plans; return what is told in the end, what was told on the way, and who is left."""
    loop = asyncio.get_running_loop()
    install(loop, exact=True)
    tasks = [asyncio.create_task(nest(plan)) for plan in plans]
    on_the_way: list[list[Finding]] = []
    for _ in range(40):
        await asyncio.sleep(0)
        on_the_way.append(deadlocks(loop))
    left = [task for task in tasks if not task.done()]
    told = deadlocks(loop)
    for task in left:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return told, on_the_way, len(left)


@pytest.mark.parametrize("kind", ["lock", "mutex", "rwmutex", "bounded", "semaphore"])
@settings(max_examples=150)
@given(data=st.data())
def test_a_ring_is_told_exactly_when_somebody_never_goes_on(kind: str, data: st.DataObject) -> None:
    """Nobody who ends is ever accused on the way, and no deadlock is missed in the end."""
    blocks = blocks_of(kind)
    # A mutex that is not re-entrant raises where it is taken twice; that is no deadlock.
    once = kind in ("mutex", "rwmutex")
    plans = [
        [
            data.draw(st.sampled_from(blocks[lock]))
            for lock in data.draw(
                st.lists(st.integers(0, LOCKS - 1), min_size=1, max_size=3, unique=once)
            )
        ]
        for _ in range(data.draw(st.integers(2, 5)))
    ]
    told, on_the_way, left = asyncio.run(play(plans))
    assert bool(told) == bool(left)
    if len(told) == 1:
        assert told[0].alive == left, "whoever is not in the ring waits behind it"
    for seen in on_the_way:
        for ring in seen:
            assert ring.count <= left
    rings = [len(seen) for seen in on_the_way]
    assert rings == sorted(rings), "a ring that was told has gone away again"


@settings(max_examples=50)
@given(
    plans=st.lists(
        st.lists(st.integers(0, LOCKS - 1), min_size=1, max_size=3), min_size=2, max_size=5
    )
)
def test_uvloop_shows_the_same_rings(plans: list[list[int]]) -> None:
    """The graph is read from coroutines and locks, which are the same on every loop."""
    uvloop = pytest.importorskip("uvloop")
    found = []
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            blocks = blocks_of("lock")
            told, _, left = runner.run(play([[blocks[lock][0] for lock in plan] for plan in plans]))
            found.append((sorted((one.count, one.alive) for one in told), left))
    assert found[0] == found[1]


@settings(max_examples=100)
@given(plans=st.lists(st.sets(st.integers(0, LOCKS - 1), min_size=1), min_size=2, max_size=6))
def test_who_takes_locks_in_one_order_is_never_accused(plans: list[set[int]]) -> None:
    """The cure that the advice gives holds: with one order everywhere there is no ring."""
    blocks = blocks_of("lock")
    ordered = [[blocks[lock][0] for lock in sorted(plan)] for plan in plans]
    told, on_the_way, left = asyncio.run(play(ordered))
    assert (told, left) == ([], 0)
    assert not any(on_the_way)
