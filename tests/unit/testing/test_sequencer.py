"""`Sequencer`: the order asked for, and an error instead of a hang when it can never be."""

from __future__ import annotations

import asyncio

import pytest

from backstay.errors import UsageError
from backstay.testing import Sequencer, explore, wait_all_blocked


async def _pass(seq: Sequencer, number: int, log: list[int]) -> None:
    async with seq(number):
        log.append(number)


def test_places_are_passed_in_order_under_every_schedule() -> None:
    """Whoever comes first, the numbers decide."""

    async def scenario() -> None:
        seq, log = Sequencer(), []
        await asyncio.gather(*(_pass(seq, number, log) for number in (3, 0, 2, 1)))
        assert log == [0, 1, 2, 3]

    explore(scenario, schedules=300)


async def test_a_block_that_fails_lets_the_next_one_in() -> None:
    """An error passes the turn on; the test that uses it sees its own error."""
    seq = Sequencer()
    with pytest.raises(KeyError):
        async with seq(0):
            raise KeyError
    async with seq(1):
        pass
    assert repr(seq) == "<Sequencer [0, 1]>"


async def test_a_number_is_used_once() -> None:
    """Using a place twice is a slip of the test, and so is a negative one."""
    seq = Sequencer()
    async with seq(0):
        pass
    for wrong in (0, -1):
        with pytest.raises(UsageError, match="each number from 0 is used once"):
            async with seq(wrong):
                pass


@pytest.mark.real_loop
async def test_a_cancelled_waiter_breaks_the_sequence() -> None:
    """The others get an error that names the culprit; the cancellation itself goes on."""
    seq, log = Sequencer(), []
    first = asyncio.create_task(_pass(seq, 1, log))
    second = asyncio.create_task(_pass(seq, 2, log))
    await wait_all_blocked()
    first.cancel()
    with pytest.raises(UsageError, match="place 2 will never be reached: the task at place 1"):
        await second
    assert first.cancelled()
    with pytest.raises(UsageError, match="place 5 will never"):
        await _pass(seq, 5, log)
    assert repr(seq).endswith("broken at 1>")
