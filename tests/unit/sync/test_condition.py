"""Cond: a notice for each change, and the mutex held whenever it is looked at."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backstay import now
from backstay.errors import LockMisuse, SyncMisuse
from backstay.sync import Cond, Mutex


async def wait_on(cond: Cond, log: list[Any] | None = None, name: str = "") -> None:
    """Wait for one notice."""
    async with cond:
        await cond.wait()
        if log is not None:
            log.append(name)


async def waiting(cond: Cond, count: int, log: list[Any] | None = None) -> list[asyncio.Task[None]]:
    """Start tasks that wait, and return once they do."""
    before = cond.statistics().waiting
    tasks = [asyncio.create_task(wait_on(cond, log, str(n)), name=str(n)) for n in range(count)]
    while cond.statistics().waiting < before + count:
        await asyncio.sleep(0)
    return tasks


async def test_notify_wakes_in_order_of_arrival() -> None:
    """One notice, one task; the rest goes on waiting."""
    cond, log = Cond(name="c"), list[str]()
    tasks = await waiting(cond, 3, log)
    assert repr(cond) == "<Cond 'c' waiting=3>"
    cond.notify()
    await asyncio.sleep(0.1)
    assert log == ["0"]
    cond.notify(5)
    await asyncio.gather(*tasks)
    assert log == ["0", "1", "2"]
    assert cond.statistics() == type(cond.statistics())("c", 0, 3)
    cond.notify_all()  # nobody there: it is not remembered
    assert cond.statistics().notified == 3


async def test_notify_all_wakes_everybody() -> None:
    """Each holds the mutex when it goes on."""
    cond, log = Cond(), list[str]()
    tasks = await waiting(cond, 3, log)
    async with cond:
        cond.notify_all()
        await asyncio.sleep(1)
        assert log == []
    await asyncio.gather(*tasks)
    assert sorted(log) == ["0", "1", "2"]
    assert not cond.mutex.locked()


async def test_wait_for_asks_again_after_each_notice() -> None:
    """A notice is no promise that the condition holds."""
    cond, items = Cond(), list[int]()

    async def takes() -> list[int]:
        async with cond:
            return await cond.wait_for(lambda: items and list(items))

    task = asyncio.create_task(takes())
    await asyncio.sleep(0)
    cond.notify()
    await asyncio.sleep(1)
    assert not task.done()
    async with cond:
        items.append(7)
        cond.notify()
    assert await task == [7]
    async with cond:
        assert await cond.wait_for(lambda: "at once") == "at once"


async def test_two_conditions_over_one_mutex() -> None:
    """A bounded buffer: not full and not empty are different news."""
    mutex = Mutex("buffer")
    not_empty, not_full = Cond(mutex), Cond(mutex)
    buffer: list[int] = []
    got: list[int] = []

    async def producer() -> None:
        for item in range(20):
            async with not_full:
                await not_full.wait_for(lambda: len(buffer) < 3)
                buffer.append(item)
                not_empty.notify()

    async def consumer() -> None:
        for _ in range(20):
            async with not_empty:
                await not_empty.wait_for(lambda: buffer)
                got.append(buffer.pop(0))
                not_full.notify()

    await asyncio.gather(producer(), consumer())
    assert got == list(range(20))


async def test_the_mutex_must_be_held() -> None:
    """Waiting without it, or with somebody else holding it, is an error at once."""
    cond = Cond(name="c")
    with pytest.raises(LockMisuse, match=r"wait\(\) of condition 'c' needs mutex 'c' to be held"):
        await cond.wait()
    tasks = await waiting(cond, 1)

    async def holds() -> None:
        async with cond:
            await asyncio.sleep(1)

    holder = asyncio.create_task(holds(), name="holder")
    await asyncio.sleep(0)
    with pytest.raises(LockMisuse, match="task 'holder' has held it"):
        await cond.wait_for(lambda: False)
    cond.notify_all()
    await asyncio.gather(holder, *tasks)


async def test_wait_by_hand() -> None:
    """A mutex taken by lock() is given back by unlock(), also after a wait."""
    cond = Cond()
    await cond.mutex.lock()
    asyncio.get_running_loop().call_later(1.0, cond.notify)
    await cond.wait()
    cond.mutex.unlock()
    assert now() == 1.0


async def test_a_time_limit_leaves_the_mutex_held() -> None:
    """After a wait that was cut short the block still owns its mutex."""
    cond = Cond()
    async with cond:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await cond.wait()
        assert cond.mutex.locked()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cond.wait(), 1)
        assert cond.mutex.holder().task == asyncio.current_task().get_name()  # type: ignore[union-attr]
    assert not cond.mutex.locked()
    assert cond.statistics().waiting == 0


async def test_a_notice_of_a_cancelled_task_goes_to_the_next() -> None:
    """Notified and cancelled before it ran: the notice is not lost."""
    cond, log = Cond(), list[str]()
    tasks = await waiting(cond, 2, log)
    cond.notify()
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert log == ["1"]
    assert cond.statistics().notified == 1


async def test_cancelled_while_it_takes_the_mutex_again() -> None:
    """It was notified, has not seen anything yet, and passes the notice on."""
    cond, log = Cond(), list[str]()
    tasks = await waiting(cond, 2, log)
    async with cond:
        cond.notify()
        await asyncio.sleep(1)
        tasks[0].cancel()
        await asyncio.sleep(1)
        assert not tasks[0].done()  # it needs the mutex to leave its block
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()
    assert log == ["1"]
    assert not cond.mutex.locked()


async def test_a_coroutine_that_is_closed_frees_nothing_of_others() -> None:
    """Thrown away while it waits, and while another task holds the mutex."""
    cond = Cond()
    coroutine = wait_on(cond)
    coroutine.send(None)

    async def holds() -> None:
        async with cond:
            await asyncio.sleep(1)

    holder = asyncio.create_task(holds(), name="holder")
    await asyncio.sleep(0)
    coroutine.close()
    assert cond.mutex.holder().task == "holder"  # type: ignore[union-attr]
    assert cond.statistics().waiting == 0
    await holder
    assert not cond.mutex.locked()


def test_conditions_move_with_their_mutex() -> None:
    """Those who waited in a closed loop are forgotten."""
    cond = Cond()
    loop = asyncio.new_event_loop()
    task = loop.create_task(wait_on(cond))
    loop.run_until_complete(asyncio.sleep(0))
    assert cond._in_use()
    with pytest.raises(SyncMisuse, match="another event loop"):
        asyncio.run(wait_on(cond))
    loop.close()
    cond.notify()
    assert not cond._in_use()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
