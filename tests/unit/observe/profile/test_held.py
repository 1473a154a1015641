"""What tasks hold: told by group, scaled to all of it, and nobody is kept alive by being weighed."""

from __future__ import annotations

import asyncio
import gc
import weakref

import backstay
from backstay.observe.profile._held import held_profile


async def keep(size: int) -> None:
    """Hold so many bytes, and wait."""
    data = bytearray(size)
    await asyncio.Event().wait()
    data.clear()


async def test_a_group_is_weighed_by_some_and_told_for_all() -> None:
    """Forty tasks of 50 kB are two megabytes; those that ask are in it with what they have."""
    backstay.install()
    async with backstay.Scope("s") as scope:
        for _ in range(40):
            scope.go(keep, 50_000)
        await asyncio.sleep(0)
        told = held_profile()
        scope.cancel("seen")
    ((count, held),) = [one.values for one in told.samples if one.values[0] == 40]
    assert count == 40
    assert 2_000_000 <= held < 2_200_000
    assert told.kinds[told.kinds.index(("held", "bytes"))] == ("held", "bytes")
    assert "a lower bound" in told.comments[0]


async def test_a_look_keeps_no_task_alive() -> None:
    """What is left of it are strings and numbers."""
    backstay.install()
    async with backstay.Scope("s") as scope:
        task = scope.go(keep, 10)
        watched = weakref.ref(task)
        await asyncio.sleep(0)
        told = held_profile()
        scope.cancel("seen")
    assert told.samples
    del task, scope
    gc.collect()
    assert watched() is None
