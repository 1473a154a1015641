"""`TimeLimit`: the deadline that guards set for every call."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backstay import Key, Scope, bind, context, now, remaining, timeout
from backstay.errors import DeadlineExceeded, ScopeMisuse
from backstay.tasks import TimeLimit, limits_of

SHORT, LONG = 0.05, 2.0  # a timer of its own, and a place on the wheel
EACH = pytest.mark.parametrize("seconds", [SHORT, LONG])


async def within(seconds: float, fn: Callable[[], Awaitable[Any]], setter: str = "guard") -> Any:
    """Write a limit out around a call, as guards do."""
    limit = limits_of(asyncio.get_running_loop()).begin(setter, seconds, now())
    try:
        result = await fn()
    except BaseException as error:
        if limit.close():
            await limit.settle(error)
        raise
    if limit.close():
        await limit.settle(None)
    return result


async def hang() -> None:
    await asyncio.sleep(1000)


@EACH
async def test_a_call_that_hangs_is_cut(seconds: float) -> None:
    """It ends with an error that names the guard, and the task's account is clean afterwards."""
    with pytest.raises(DeadlineExceeded) as caught:
        await within(seconds, hang)
    assert (caught.value.scope, caught.value.timeout) == ("guard", seconds)
    assert seconds <= now() <= seconds + 0.011
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert remaining() is None
    await asyncio.sleep(10)


@EACH
async def test_a_call_in_time_leaves_nothing_behind(seconds: float) -> None:
    """No timer strikes later, and the ambient deadline is what it was."""

    async def work() -> float | None:
        await asyncio.sleep(0)
        return remaining()

    assert await within(seconds, work) == pytest.approx(seconds)
    assert remaining() is None
    await asyncio.sleep(10)


async def test_the_earlier_deadline_holds_whoever_set_it() -> None:
    """An outer deadline is named; an inner one that is sooner counts for the inside alone."""
    with pytest.raises(DeadlineExceeded) as caught:
        async with timeout(1.0, name="request"):
            await within(50.0, hang)
    assert caught.value.scope == "request"
    assert now() == pytest.approx(1.0, abs=0.02)

    async def inner() -> Any:
        return await within(0.5, hang, "attempt")

    with pytest.raises(DeadlineExceeded) as caught:
        await within(5.0, inner, "policy")
    assert caught.value.scope == "attempt"


async def test_a_limit_within_a_limit_that_ends_sooner_leaves_it_to_that() -> None:
    """Two limits of one deadline strike once."""

    async def inner() -> Any:
        return await within(50.0, hang, "inner")

    with pytest.raises(DeadlineExceeded) as caught:
        await within(0.5, inner, "outer")
    assert caught.value.scope == "outer"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_task_started_inside_is_bound_by_the_deadline_only_where_it_asks() -> None:
    """The child sees the deadline of its creator; a limit of its own then enforces it."""
    seen: list[float | None] = []

    async def child() -> None:
        seen.append(remaining())
        with pytest.raises(DeadlineExceeded) as caught:
            await within(50.0, hang, "child")
        seen.append(now())
        assert caught.value.scope == "guard"

    async def start() -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(child())

    task = await within(1.0, start)
    await task
    assert seen == [1.0, pytest.approx(1.0, abs=0.02)]


async def test_a_scope_inside_is_cut_by_the_limit() -> None:
    """Children of the call end with it."""
    ended: list[str] = []

    async def work() -> None:
        async def part() -> None:
            try:
                await hang()
            finally:
                ended.append("part")

        async with Scope("inner") as scope:
            scope.go(part)

    with pytest.raises(DeadlineExceeded):
        await within(1.0, work)
    assert ended == ["part"]


@EACH
async def test_a_cancel_from_outside_goes_on(seconds: float) -> None:
    """Also when the deadline strikes in the same turn."""

    async def call() -> None:
        await within(seconds, hang)

    for delay in (0.01, seconds, seconds + 0.001):
        task = asyncio.get_running_loop().create_task(call())
        asyncio.get_running_loop().call_later(delay, task.cancel, "gone")
        try:
            await task
        except asyncio.CancelledError:
            pass
        except DeadlineExceeded:
            assert delay > seconds
        assert task.cancelled() or delay > seconds


@EACH
async def test_what_the_call_returned_in_spite_of_the_strike_is_kept(seconds: float) -> None:
    """A result that was there before the cancel arrived counts, and no cancel strikes later."""

    async def stubborn() -> str:
        try:
            await hang()
        except asyncio.CancelledError:
            return "done all the same"
        raise AssertionError

    assert await within(seconds, stubborn) == "done all the same"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_values_are_seen_through_and_can_be_bound_inside() -> None:
    """A limit binds nothing; what is bound around it or inside it is there."""
    tenant: Key[str] = Key("tenant")

    async def work() -> tuple[str | None, str | None, float | None]:
        outside = tenant.get()
        with bind(tenant, "inner"):
            return outside, tenant.get(), remaining()

    with bind(tenant, "outer"):
        assert await within(2.0, work) == ("outer", "inner", 2.0)
    assert context.current().deadline is None


async def test_without_deadline_drops_it() -> None:
    """Detached work sees no deadline."""

    async def work() -> float | None:
        return context.current().without_deadline().deadline

    assert await within(2.0, work) is None


async def test_a_limit_keeps_no_task_alive_and_no_chain_of_limits() -> None:
    """Tasks that start each other from within calls hold one set of surroundings, not a chain."""
    depth: list[int] = []

    async def link(left: int) -> None:
        here = context.current()
        length = 0
        while isinstance(here, TimeLimit):
            here = here.surroundings
            length += 1
        depth.append(length)

        async def start() -> asyncio.Task[None] | None:
            return asyncio.get_running_loop().create_task(link(left - 1)) if left else None

        following = await within(5.0, start)
        if following is not None:
            ref = weakref.ref(asyncio.current_task())
            following.add_done_callback(lambda _: ref)
            await following

    await asyncio.get_running_loop().create_task(link(10))
    gc.collect()
    assert max(depth) == 1


def test_a_limit_needs_a_running_task() -> None:
    """From a plain callback there is nobody to cancel."""
    failures: list[Exception] = []

    async def main() -> None:
        def callback() -> None:
            try:
                limits_of(asyncio.get_running_loop()).begin("guard", 1.0, now())
            except ScopeMisuse as error:
                failures.append(error)

        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert "needs a running task" in str(failures[0])
