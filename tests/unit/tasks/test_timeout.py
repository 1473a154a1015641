"""`timeout()` and `deadline_at()`: a deadline around a block that owns nothing."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay import current_scope, deadline_at, now, remaining, timeout
from backstay.errors import DeadlineExceeded, ScopeMisuse
from backstay.testing import run_virtual


async def test_a_slow_block_is_cut() -> None:
    """The block ends at its time with an error that is also a TimeoutError."""
    with pytest.raises(DeadlineExceeded) as caught:
        async with timeout(2.0, name="fetch"):
            assert remaining() == 2.0
            await asyncio.sleep(100)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.scope, caught.value.timeout, now()) == ("fetch", 2.0, 2.0)
    assert remaining() is None


async def test_a_quick_block_is_left_alone() -> None:
    """A block that ends in time leaves no timer, no context and no owner behind."""
    async with timeout(2.0):
        assert current_scope() is None
        await asyncio.sleep(1)
    await asyncio.sleep(10)
    assert remaining() is None


async def test_an_outer_deadline_beats_a_later_inner_one() -> None:
    """Deadlines only shrink, and the error names who had set the one that passed."""
    with pytest.raises(DeadlineExceeded) as caught:
        async with deadline_at(1.0, name="request"), timeout(50.0):
            assert remaining() == 1.0
            await asyncio.sleep(100)
    assert caught.value.scope == "request"
    assert now() == 1.0


async def test_a_passed_deadline_cuts_at_the_first_await() -> None:
    """deadline_at a time that is over ends the block as soon as it waits."""
    await asyncio.sleep(5)
    with pytest.raises(DeadlineExceeded):
        async with deadline_at(1.0):
            await asyncio.sleep(1)
    assert now() == 5.0


async def test_an_error_of_the_block_is_not_replaced() -> None:
    """An error raised by clean-up after the deadline leaves as itself."""
    with pytest.raises(ValueError, match="clean-up"):
        async with timeout(1.0):
            try:
                await asyncio.sleep(10)
            finally:
                raise ValueError("clean-up")


async def test_one_object_is_one_block() -> None:
    """Entering the same timeout twice is refused."""
    block = timeout(1.0)
    async with block:
        pass
    with pytest.raises(ScopeMisuse):
        await block.__aenter__()


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_bad_seconds_are_refused(wrong: float) -> None:
    """A negative or undefined duration is an error that shows the value."""
    with pytest.raises(ValueError, match="at least 0 seconds"):
        timeout(wrong)


@given(
    work=st.integers(0, 6),
    inner=st.integers(0, 6),
    outer=st.integers(0, 6),
    cancel=st.none() | st.integers(0, 6),
)
@settings(max_examples=400, deadline=None)
def test_cancels_are_neither_lost_nor_leaked(
    work: int, inner: int, outer: int, cancel: int | None
) -> None:
    """Two nested timeouts and a cancel from outside, in every order and in ties."""
    seen: list[BaseException | None] = []
    stray: list[bool] = []
    struck: list[bool] = []

    async def host() -> None:
        outcome: BaseException | None = None
        try:
            async with timeout(outer, name="outer"), timeout(inner, name="inner"):
                if work:
                    await asyncio.sleep(work)
        except BaseException as error:
            outcome = error
        seen.append(outcome)
        try:
            await asyncio.sleep(0)
            stray.append(False)
        except asyncio.CancelledError:
            stray.append(True)
        me = asyncio.current_task()
        assert me is not None
        if cancel is None or (struck and struck[0]):
            assert me.cancelling() == (cancel is not None)

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(host())

        def strike() -> None:
            struck.append(not seen)
            task.cancel()

        if cancel is not None:
            asyncio.get_running_loop().call_later(cancel, strike)
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None

    run_virtual(main)
    outcome = seen[0]
    cancelled = isinstance(outcome, asyncio.CancelledError)
    if struck and struck[0]:
        assert cancelled != stray[0]
    elif cancel is None:
        assert not cancelled
        assert not stray[0]
        if min(inner, outer) < work:
            assert isinstance(outcome, DeadlineExceeded)
            assert outcome.scope == ("outer" if outer <= inner else "inner")
