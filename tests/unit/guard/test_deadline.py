"""`Deadline`: each call has its bound, and what it calls sees it."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from backstay import now, remaining, timeout
from backstay.errors import DeadlineExceeded
from backstay.guard import Deadline


async def hang() -> None:
    await asyncio.sleep(1000)


async def test_a_call_is_cut_and_the_deadline_named() -> None:
    """As a decorator and by `call`."""
    quick = Deadline(0.5, name="search")
    with pytest.raises(DeadlineExceeded) as caught:
        await quick.call(hang)
    assert (caught.value.scope, caught.value.timeout) == ("search", 0.5)
    assert now() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(DeadlineExceeded):
        await quick(hang)()
    assert quick.statistics().cut == 2
    assert repr(quick) == "<Deadline 'search' 0.5 s>"


async def test_a_call_in_time_sees_its_deadline_and_leaves_none() -> None:
    """The function stays what it is."""
    quick = Deadline(2.0)

    @quick
    async def find(text: str) -> tuple[str, float | None]:
        """Find it."""
        return text, remaining()

    assert inspect.iscoroutinefunction(find)
    assert find.__doc__ == "Find it."
    assert await find("x") == ("x", 2.0)
    assert await quick.call(find, "y") == ("y", 2.0)
    assert remaining() is None
    assert quick.name.startswith("test_deadline.py:")


async def test_an_earlier_deadline_around_it_holds() -> None:
    """And is named."""
    with pytest.raises(DeadlineExceeded) as caught:
        async with timeout(0.1, name="request"):
            await Deadline(5.0).call(hang)
    assert caught.value.scope == "request"


async def test_an_error_and_a_stubborn_result_pass() -> None:
    """A result that was there in spite of the strike counts."""
    quick = Deadline(0.5)

    async def fail() -> None:
        raise KeyError

    async def stubborn() -> str:
        try:
            await hang()
        except asyncio.CancelledError:
            return "done all the same"
        raise AssertionError

    with pytest.raises(KeyError):
        await quick.call(fail)
    assert await quick.call(stubborn) == "done all the same"
    assert await quick(stubborn)() == "done all the same"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_bound_can_be_changed_and_is_checked() -> None:
    """For calls that begin from then on."""
    quick = Deadline(50.0)
    quick.update(seconds=0.1)
    with pytest.raises(DeadlineExceeded):
        await quick.call(hang)
    with pytest.raises(ValueError, match="above 0"):
        quick.update(seconds=0)
    with pytest.raises(ValueError, match="above 0"):
        Deadline(-1)


def test_one_loop_after_another() -> None:
    """Made once, used in each run."""
    quick = Deadline(2.0)

    async def fine() -> str:
        return "fine"

    for _ in range(2):
        assert asyncio.run(quick.call(fine)) == "fine"
