"""The timers of a loop are found, however the loop happens to keep its attributes."""

from __future__ import annotations

import asyncio

import pytest

from backstay.leak import keepers, prove
from backstay.leak._timers import parts_of, pending_timers


@pytest.mark.real_loop
async def test_timers_are_found_when_somebody_looked_at_the_attributes_of_the_loop() -> None:
    """`vars(loop)` moves the attributes of a loop into a dict, before Python 3.13."""
    loop = asyncio.get_running_loop()
    handle = loop.call_later(100, print)
    assert pending_timers(loop) == [handle]
    vars(loop)
    assert pending_timers(loop) == [handle]
    assert [one.name for one in keepers(loop).found if one.kind == "timer"] == ["print"]
    handle.cancel()
    assert pending_timers(loop) == []
    assert loop.__dict__["_ready"] in parts_of(loop)


@pytest.mark.real_loop
async def test_who_has_a_time_limit_is_not_proved_stuck_then_either() -> None:
    """A debugger that looked at the loop must not turn a bounded wait into a leak."""

    async def bounded() -> None:
        async with asyncio.timeout(100):
            await asyncio.get_running_loop().create_future()

    vars(asyncio.get_running_loop())
    task = asyncio.create_task(bounded())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert prove().proved == ()
    task.cancel()
