"""What is left, in words."""

from __future__ import annotations

import asyncio

from backstay.lifecycle import leftovers
from backstay.tasks import Scope, install, live_tasks


async def test_alike_tasks_are_counted_together_with_site_owner_and_wait() -> None:
    """Three sleepers of one line are one line of the log; the odd one is another."""
    install(exact=True)

    async def sleeper() -> None:
        await asyncio.sleep(100)

    async with Scope("shop", on_exit="cancel") as scope:
        for _ in range(3):
            scope.go(sleeper)
        odd = asyncio.create_task(asyncio.Event().wait(), name="odd")
        await asyncio.sleep(0)
        me = asyncio.current_task()
        many, one = leftovers(t for t in live_tasks(asyncio.get_running_loop()) if t is not me)
        odd.cancel()
    assert (many.count, many.owner, one.count, one.name) == (3, "shop", 1, "odd")
    assert str(many).startswith("3 tasks like ")
    assert "sleeper) owned by shop, started at " in str(many)
    assert "test_leftovers.py" in many.site
    assert ", waits for sleep" in str(many)
    assert str(one).startswith("task 'odd' (")


async def test_an_untracked_task_has_neither_owner_nor_site() -> None:
    """What is not known is left out, and not made up."""

    async def bare() -> None:
        await asyncio.sleep(100)

    task = asyncio.get_running_loop().create_task(bare(), name="bare")
    await asyncio.sleep(0)
    (one,) = leftovers([task])
    task.cancel()
    assert " without owner" in str(one) or "owned by" in str(one)
