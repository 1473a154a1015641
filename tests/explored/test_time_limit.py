"""A guard's deadline under every order of strike, result, error and cancel."""

from __future__ import annotations

import asyncio

import pytest

from backstay import now, remaining
from backstay.errors import DeadlineExceeded
from backstay.tasks import limits_of


async def limited(seconds: float, work: float, name: str) -> str:
    """Work for some time within a limit; what it leaves behind is checked on the way out."""
    limit = limits_of(asyncio.get_running_loop()).begin(name, seconds, now())
    try:
        try:
            await asyncio.sleep(work / 2)
            await asyncio.sleep(work / 2)
        except BaseException as error:
            limit.close()
            if limit.fired is not None:
                await limit.settle(error)
            raise
        limit.close()
        if limit.fired is not None:
            await limit.settle(None)
    except DeadlineExceeded as error:
        return "cut" if error.scope == name else f"cut by {error.scope}"
    return "done"


@pytest.mark.explore(schedules=20_000, quick=300, cancel=True)
async def test_strike_result_and_cancel_in_one_turn_keep_the_account_straight() -> None:
    """Who was not cancelled goes on with a clean account, whatever came first."""
    ended: list[str] = []

    async def caller(seconds: float, work: float) -> None:
        how = await limited(seconds, work, f"limit {seconds}")
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert remaining() is None
        await asyncio.sleep(0)
        ended.append(how)

    pairs = [(0.05, 0.05), (0.05, 0.01), (0.05, 1.0), (0.2, 0.2), (0.2, 9.0)]
    tasks = [asyncio.ensure_future(caller(*pair)) for pair in pairs]
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
    assert len(ended) == sum(not task.cancelled() for task in tasks)


@pytest.mark.explore(schedules=20_000, quick=300, cancel="systematic")
async def test_a_limit_inside_a_limit_answers_for_itself_alone() -> None:
    """The outer one goes on after the inner one was cut."""

    async def caller() -> tuple[str, str]:
        limit = limits_of(asyncio.get_running_loop()).begin("outer", 0.5, now())
        try:
            inner = await limited(0.05, 1.0, "inner")
            again = await limited(0.05, 0.0, "inner")
        except BaseException as error:
            limit.close()
            if limit.fired is not None:
                await limit.settle(error)
            raise
        limit.close()
        if limit.fired is not None:
            await limit.settle(None)
        return inner, again

    task = asyncio.ensure_future(caller())
    await asyncio.wait([task])
    if not task.cancelled():
        assert task.result() == ("cut", "done")
