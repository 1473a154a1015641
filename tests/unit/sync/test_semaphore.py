"""Semaphore: places in order of arrival, several at a time."""

from __future__ import annotations

import asyncio

import pytest

from backstay import now
from backstay.errors import SyncMisuse
from backstay.sync import Semaphore


async def use(semaphore: Semaphore, count: int, seconds: float = 0.0) -> None:
    """Take places for a while."""
    async with semaphore.places(count):
        await asyncio.sleep(seconds)


async def test_no_more_than_its_size_at_once() -> None:
    """Six pieces of a second on two places take three seconds."""
    semaphore = Semaphore(2)

    async def one() -> None:
        async with semaphore:
            await asyncio.sleep(1)

    await asyncio.gather(*(one() for _ in range(6)))
    assert now() == 3.0
    assert semaphore.free == semaphore.size == 2


async def test_who_stands_first_holds_up_who_asks_for_less() -> None:
    """A large request is not overtaken by small ones, also not by one that tries."""
    semaphore = Semaphore(4, name="uploads")
    order: list[int] = []

    async def worker(count: int) -> None:
        async with semaphore.places(count):
            order.append(count)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(worker(count)) for count in (2, 4, 1, 1)]
    await asyncio.sleep(0.5)
    assert order == [2]
    assert semaphore.free == 2
    assert not semaphore.try_acquire()
    assert repr(semaphore) == "<Semaphore 'uploads' 2 of 4 free waiting=3>"
    assert semaphore._in_words() == "'uploads' 2 of 4 free"
    statistics = semaphore.statistics()
    assert (statistics.in_use, statistics.waiting, statistics.size) == (2, 3, 4)
    await asyncio.gather(*tasks)
    assert order == [2, 4, 1, 1]
    assert semaphore.statistics().wait.longest_s == 2.0
    assert repr(semaphore) == "<Semaphore 'uploads' 4 of 4 free>"


async def test_several_are_served_at_once() -> None:
    """What one large one gives back may be enough for many."""
    semaphore = Semaphore(3)
    await semaphore.acquire(3)
    tasks = [asyncio.create_task(use(semaphore, 1, 1.0)) for _ in range(3)]
    await asyncio.sleep(0)
    semaphore.release(3)
    await asyncio.gather(*tasks)
    assert now() == 1.0


async def test_places_belong_to_nobody() -> None:
    """One task takes them and another gives them back."""
    semaphore = Semaphore(1)
    await semaphore.acquire()
    asyncio.get_running_loop().call_later(1.0, semaphore.release)
    await semaphore.acquire()
    assert now() == 1.0


async def test_a_cancelled_large_request_lets_the_small_ones_through() -> None:
    """Those behind may want less than the one that gave up."""
    semaphore = Semaphore(2)
    await semaphore.acquire()
    large = asyncio.create_task(semaphore.acquire(2))
    small = asyncio.create_task(semaphore.acquire())
    await asyncio.sleep(0)
    large.cancel()
    await small
    assert large.cancelled()
    assert semaphore.free == 0


async def test_cancelled_after_places_were_given() -> None:
    """They go to the next in line."""
    semaphore = Semaphore(2)
    await semaphore.acquire(2)
    gone = asyncio.create_task(semaphore.acquire(2))
    stays = asyncio.create_task(semaphore.acquire(1))
    await asyncio.sleep(0)
    semaphore.release(2)
    gone.cancel()
    await asyncio.wait([gone, stays])
    assert gone.cancelled()
    assert semaphore.free == 1


async def test_a_deadline_ends_the_wait() -> None:
    """The time limit of the block around counts; nothing is taken."""
    semaphore = Semaphore(1)
    await semaphore.acquire()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await semaphore.acquire()
    semaphore.release()
    assert semaphore.free == 1
    async with asyncio.timeout(1.0):
        await semaphore.acquire()


async def test_the_fast_path_does_not_overtake() -> None:
    """A free place that the first in line waits for more of is not given to a block."""
    semaphore = Semaphore(2)
    await semaphore.acquire()
    large = asyncio.create_task(semaphore.acquire(2))
    await asyncio.sleep(0)

    async def block() -> None:
        async with semaphore:
            pass

    small = asyncio.create_task(block())
    await asyncio.sleep(0)
    assert semaphore.free == 1
    semaphore.release()
    await large
    semaphore.release(2)
    await small


@pytest.mark.parametrize("count", [0, -1, 4])
async def test_impossible_requests_are_refused(count: int) -> None:
    """What can never be given is an error and no wait without end."""
    semaphore = Semaphore(3, name="s")
    with pytest.raises(ValueError, match=rf"semaphore 's' has 3 places.*not {count}"):
        await semaphore.acquire(count)
    with pytest.raises(ValueError, match="3 places"):
        semaphore.places(count)
    with pytest.raises(ValueError, match="3 places"):
        semaphore.try_acquire(count)


async def test_more_back_than_taken_is_refused() -> None:
    """A release too many would let too many in later."""
    semaphore = Semaphore(3, name="s")
    await semaphore.acquire(2)
    for count in (3, 0):
        with pytest.raises(SyncMisuse, match=rf"cannot get {count} places back: 2 of 3 are taken"):
            semaphore.release(count)
    semaphore.release(2)
    assert semaphore.free == 3


def test_a_semaphore_has_places() -> None:
    """Without any, nobody would ever get in."""
    with pytest.raises(ValueError, match="at least 1 place, not 0"):
        Semaphore(0)


def test_closed_after_its_loop() -> None:
    """A waiter whose coroutine is closed when the loop is gone wakes nobody."""
    semaphore = Semaphore(1)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(use(semaphore, 1, 10)) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    assert semaphore._in_use()
    loop.close()
    for task in reversed(tasks):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    assert semaphore.free == 1
    assert not semaphore._in_use()
