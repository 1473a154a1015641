"""A task that was told of is found again, and never taken for another one."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from backstay.observe.ui._task_numbers import TaskNumbers

pytestmark = pytest.mark.real_loop


async def test_a_number_stays_with_its_task() -> None:
    """The same each time, another for each task, and gone with its end."""
    numbers = TaskNumbers()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(3)]
    given = [numbers.number(task) for task in tasks]
    assert given == [numbers.number(task) for task in tasks]
    assert len(set(given)) == 3
    assert [numbers.find(one) for one in given] == tasks
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert numbers.find(given[0]) is None
    assert numbers.find(10**12) is None
    for task in tasks[1:]:
        task.cancel()
    await asyncio.wait(tasks)


async def test_an_address_that_is_used_again_is_another_task() -> None:
    """Thousands of tasks after each other share a few addresses and no number; nothing is kept of them."""
    numbers = TaskNumbers()
    addresses: set[int] = set()
    given: set[int] = set()
    for _ in range(500):
        task = asyncio.create_task(asyncio.sleep(0))
        addresses.add(id(task))
        given.add(numbers.number(task))
        await task
        del task
    await asyncio.sleep(0)
    gc.collect()
    assert len(given) == 500
    assert len(addresses) < 500
    assert not numbers._tasks
    assert not numbers._by_address


async def test_a_number_keeps_no_task_alive() -> None:
    """Watching changes nothing of what is watched."""
    numbers = TaskNumbers()
    task = asyncio.create_task(asyncio.sleep(0))
    numbers.number(task)
    watched = weakref.ref(task)
    await task
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert watched() is None
