"""WaitGroup: zero is reached once a round, and everybody hears of it."""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope, now
from backstay.errors import NoOwner, SyncMisuse
from backstay.sync import WaitGroup


async def test_wait_returns_at_zero() -> None:
    """Everybody who waits goes on when the last thing is done."""
    group = WaitGroup("uploads")
    await group.wait()
    group.add(2)
    tasks = [asyncio.create_task(group.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    group.done()
    await asyncio.sleep(1)
    assert repr(group) == "<WaitGroup 'uploads' 1 left waiting=2>"
    assert group._in_words() == "'uploads' 1 left"
    assert group.statistics() == type(group.statistics())("uploads", 1, 2)
    assert not any(task.done() for task in tasks)
    group.done()
    await asyncio.gather(*tasks)
    assert group.count == 0
    assert repr(group) == "<WaitGroup 'uploads' 0 left>"


async def test_it_can_be_used_again() -> None:
    """Once everybody has gone on, a new round may begin."""
    group = WaitGroup()
    for _ in range(3):
        group.add()
        task = asyncio.create_task(group.wait())
        await asyncio.sleep(0)
        group.done()
        await task


async def test_go_counts_a_task_however_it_ends() -> None:
    """Done, failed, cancelled, and cancelled before it began."""
    group = WaitGroup()

    async def works(seconds: float, fails: bool) -> str:
        await asyncio.sleep(seconds)
        if fails:
            raise KeyError("x")
        return "done"

    with pytest.raises(ExceptionGroup):
        async with Scope("s", on_error="collect"):
            task = group.go(works, 1.0, False)
            group.go(works, 1.0, True)
            group.go(works, 5.0, False).cancel()
            assert group.count == 3
            await group.wait()
            assert now() == 1.0
            assert task.result() == "done"
    assert group.count == 0


async def test_go_without_an_owner_counts_nothing() -> None:
    """A refused task is not waited for."""
    group = WaitGroup()

    async def works() -> None: ...

    with pytest.raises(NoOwner):
        group.go(works)
    assert group.count == 0
    await group.wait()


async def test_below_zero_is_refused_and_changes_nothing() -> None:
    """One done() too many is a bug at that line and not a wait that ends early."""
    group = WaitGroup("uploads")
    with pytest.raises(SyncMisuse, match=r"wait group 'uploads' counts 0 and cannot take 1 away"):
        group.done()
    group.add(1)
    with pytest.raises(SyncMisuse, match="counts 1 and cannot take 2 away"):
        group.add(-2)
    assert group.count == 1
    group.add(0)
    group.done()


async def test_a_new_round_before_the_last_has_left_is_refused() -> None:
    """Whoever waited for the last round could wake up in the middle of the next."""
    group = WaitGroup("uploads")
    group.add()
    task = asyncio.create_task(group.wait())
    await asyncio.sleep(0)
    group.done()
    with pytest.raises(
        SyncMisuse, match=r"begins a new round by add\(1\) before 1 tasks have returned"
    ):
        group.add()
    await task
    group.add()
    group.done()


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    """Before zero and after it."""
    group = WaitGroup()
    group.add()
    task = asyncio.create_task(group.wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert group.statistics().waiting == 0
    task = asyncio.create_task(group.wait())
    await asyncio.sleep(0)
    group.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    group.add()  # a new round: nobody of the last is left
    group.done()


def test_a_group_moves_to_a_new_loop() -> None:
    """Those who waited in a closed loop are forgotten."""
    group = WaitGroup()
    group.add()
    loop = asyncio.new_event_loop()
    task = loop.create_task(group.wait())
    loop.run_until_complete(asyncio.sleep(0))
    assert group._in_use()
    loop.close()
    group.done()
    assert not group._in_use()
    asyncio.run(group.wait())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
