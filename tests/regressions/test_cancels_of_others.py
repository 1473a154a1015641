"""A scope among blocks of other libraries that cancel the same task."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from backstay import Scope, now, timeout
from backstay.errors import DeadlineExceeded
from backstay.tasks import info


async def fail_in_cleanup() -> None:
    try:
        await asyncio.sleep(100)
    finally:
        raise ValueError("clean-up")


async def stray() -> bool:
    """Tell whether a cancel is pending that no block wants to answer for."""
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return True
    return False


async def test_anyio_knows_its_own_cancel_again() -> None:
    """A cancel scope of anyio that strikes while a scope waits for children gets its words back."""
    with anyio.move_on_after(1) as outer:
        async with Scope("inner") as scope:
            scope.go(asyncio.sleep, 100)
    assert outer.cancelled_caught
    assert not await stray()


@pytest.mark.parametrize("ours_first", [True, False])
async def test_anyio_knows_its_cancel_when_a_deadline_passes_too(ours_first: bool) -> None:
    """Two cancels in one turn are delivered as one, which keeps the words of the one from outside."""
    with anyio.CancelScope() as outer:
        async with Scope("inner") as scope, timeout(50):
            loop = asyncio.get_running_loop()
            strikes = [scope.cancel, outer.cancel]
            for strike in strikes if ours_first else reversed(strikes):
                loop.call_later(1, strike, "enough")
            await asyncio.sleep(100)
        await asyncio.sleep(100)
    assert outer.cancelled_caught
    assert now() == 1.0
    assert not await stray()


async def test_a_cancel_that_was_taken_back_does_not_strike_again() -> None:
    """asyncio.timeout and anyio answer for their cancel, also when errors of children leave instead."""
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(1):
            async with Scope("inner") as scope:
                scope.go(fail_in_cleanup)
    assert not await stray()
    with pytest.raises(ExceptionGroup), anyio.move_on_after(1):
        async with Scope("inner") as scope:
            scope.go(fail_in_cleanup)
    assert not await stray()


async def test_an_outer_cancel_strikes_again_inside_a_surrounding_timeout() -> None:
    """When errors leave in its place, it comes at the next await of whoever has not answered yet."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            with pytest.raises(ExceptionGroup):
                async with Scope("inner") as scope:
                    scope.go(fail_in_cleanup)
            await asyncio.sleep(100)
    assert not await stray()


async def test_the_message_of_a_cancel_survives() -> None:
    """task.cancel("why") says why also when a scope was waiting for its children."""

    async def host(block: bool) -> None:
        async with Scope("s") as scope:
            scope.go(asyncio.sleep, 100)
            if block:
                await asyncio.sleep(100)

    for block in (True, False):
        task = asyncio.create_task(host(block))
        await asyncio.sleep(1)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("why",)


async def test_a_cancel_ordered_before_the_block_is_not_taken_for_its_own() -> None:
    """It has not arrived when the scope is entered, and goes on although the scope is cancelled too."""

    async def host() -> str:
        me = asyncio.current_task()
        assert me is not None
        me.cancel()
        async with Scope("s") as scope:
            scope.cancel("mine")
        return "went on"

    task = asyncio.create_task(host())
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_stamp_goes_with_the_cancel_that_was_taken_back() -> None:
    """A worker whose timeouts strike now and then does not look like one that refuses to end."""

    async def worker() -> None:
        for limit in (timeout, asyncio.timeout):
            with pytest.raises(TimeoutError):
                async with limit(1):
                    await asyncio.sleep(100)
        await asyncio.sleep(100)

    task = asyncio.create_task(worker())
    await asyncio.sleep(1.5)
    assert info(task).cancel_by is None
    await asyncio.sleep(8.5)
    assert info(task).cancel_at is None
    task.cancel()
    await asyncio.wait([task])
    assert info(task).cancel_at == 10.0


async def test_a_block_left_elsewhere_swallows_no_cancel() -> None:
    """The misuse is told, but a cancel of the task that leaves the block goes on."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["message"]))
    scope = Scope("moving")
    await asyncio.create_task(scope.__aenter__())
    cancel = asyncio.CancelledError()
    assert await scope.__aexit__(type(cancel), cancel, None) is False
    assert "left in another" in told[0]


async def test_closing_a_timeout_block_balances_the_account() -> None:
    """A generator closed after its deadline struck leaves no cancel on its consumer's account."""

    async def stream():
        async with timeout(1):
            yield 1

    generator = stream()
    await anext(generator)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(5)
    await generator.aclose()
    assert not await stray()


async def test_an_inherited_deadline_binds_a_raw_task() -> None:
    """timeout() in a task that nobody cancels ends at the earlier deadline around it, or at its own."""

    async def raw() -> str:
        try:
            async with timeout(50):
                await asyncio.sleep(1000)
        except DeadlineExceeded as error:
            return error.scope
        return "never"

    async with Scope("request", timeout=1):
        task = asyncio.create_task(raw())
    assert await task == "request"
