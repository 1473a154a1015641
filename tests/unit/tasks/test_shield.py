"""`shield()`: what it holds back, and what it never does."""

from __future__ import annotations

import asyncio

import pytest

import backstay
from backstay.errors import Cancelled, DeadlineExceeded
from backstay.tasks import DeadlineWheel, ServedScope, shield


def request(timeout: float | None = None) -> ServedScope:
    return ServedScope(
        "POST /pay", wheel=DeadlineWheel(asyncio.get_running_loop()), timeout=timeout
    )


async def test_a_deadline_waits_for_the_commit() -> None:
    """The commit runs to its end, and the deadline strikes right after it."""
    done: list[float] = []
    with pytest.raises(DeadlineExceeded):
        async with request(timeout=1.0):
            async with shield():
                await asyncio.sleep(3)
                done.append(backstay.now())
            done.append(-1.0)
    assert done == [3.0]
    assert backstay.now() == pytest.approx(3.0, abs=0.011)


async def test_a_client_that_left_waits_for_the_commit() -> None:
    """What the guard cancels for a lost client is put off as well, and the cause is kept."""
    async with request() as scope:
        asyncio.get_running_loop().call_later(1, scope.cancel, "client disconnected")
        async with shield():
            await asyncio.sleep(3)
        await asyncio.sleep(100)
    assert backstay.now() == 3.0
    assert isinstance(scope.cause, Cancelled)
    assert scope.cause.reason == "client disconnected"


async def test_the_error_of_a_child_is_not_held_back() -> None:
    """A part of the request that failed ends the rest at once, shield or not."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise KeyError("part")

    with pytest.raises(ExceptionGroup):
        async with request() as scope:
            scope.go(fail)
            async with shield(timeout=60):
                await asyncio.sleep(40)
    assert backstay.now() == 1.0


async def test_a_cancel_from_outside_is_not_held_back() -> None:
    """A server that shuts down does not wait for forty seconds of commit."""

    async def serve() -> None:
        async with request(), shield(timeout=60):
            await asyncio.sleep(40)

    task = asyncio.create_task(serve())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backstay.now() == 1.0


async def test_a_shield_has_a_bound() -> None:
    """A commit that hangs holds the request's end back no longer than the shield's own time."""
    with pytest.raises(DeadlineExceeded):
        async with request(timeout=1.0), shield(timeout=5.0):
            await asyncio.sleep(100)
    assert backstay.now() == pytest.approx(5.0, abs=0.011)
