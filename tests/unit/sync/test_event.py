"""Event: a flag that nobody misses and nobody is held by."""

from __future__ import annotations

import asyncio

import pytest

from backstay.sync import Event


async def test_set_wakes_everybody_in_order() -> None:
    """All who wait go on, first come first."""
    event = Event("ready")
    order: list[int] = []

    async def waits(number: int) -> None:
        await event.wait()
        order.append(number)

    tasks = [asyncio.create_task(waits(n)) for n in range(3)]
    await asyncio.sleep(0)
    assert repr(event) == "<Event 'ready' waiting=3>"
    event.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]
    assert event.is_set()
    assert repr(event) == "<Event 'ready' set>"


async def test_who_comes_late_does_not_wait() -> None:
    """A set event lets everybody through at once, until it is cleared."""
    event = Event()
    event.set()
    event.set()
    await event.wait()
    event.clear()
    assert not event.is_set()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await event.wait()
    assert event.statistics().waiting == 0


async def test_clearing_at_once_takes_nothing_back() -> None:
    """Who waited when it was set goes on, though it is down again when they run."""
    event = Event()
    task = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    event.set()
    event.clear()
    await task
    assert event.statistics() == type(event.statistics())(event.name, False, 0)


async def test_cancelled_after_the_wake_up() -> None:
    """A task that was woken and is cancelled before it runs leaves nothing behind."""
    event = Event()
    task = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    event.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert event.statistics().waiting == 0


def test_an_event_moves_to_a_new_loop() -> None:
    """Those who waited in a closed loop are forgotten."""
    event = Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(event.wait())
    loop.run_until_complete(asyncio.sleep(0))
    assert event._in_use()
    loop.close()
    event.set()
    assert not event._in_use()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
