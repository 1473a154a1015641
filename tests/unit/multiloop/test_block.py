"""The third placement: a plain function in a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from backstay import Key, Scope, bind
from backstay.errors import DeadlineExceeded, ExpiredError
from backstay.multiloop import block

real = pytest.mark.real_loop
TENANT = Key[str]("tenant")


@real
async def test_it_runs_elsewhere_with_the_callers_context() -> None:
    """The loop is free meanwhile; values come along; results and errors come back."""
    with bind(TENANT, "acme"):
        thread, tenant = await block(lambda: (threading.current_thread(), TENANT.get()))
    assert thread is not threading.main_thread()
    assert tenant == "acme"
    assert await block(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await block(divmod, 7, 0)


@real
async def test_an_async_function_is_refused() -> None:
    """A coroutine in a thread would never run."""

    async def job() -> None: ...

    with pytest.raises(TypeError, match=r"is an async function: start it with scope.go\(\)"):
        await block(job)


@real
async def test_a_call_that_has_begun_is_waited_for() -> None:
    """The cancel goes on when the function has ended, and its result is dropped."""
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        release.wait(5)
        ended.set()

    task = asyncio.create_task(block(work))
    while not began.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@real
async def test_a_call_in_line_for_a_thread_never_begins() -> None:
    """It is taken out of the line at once."""
    from concurrent.futures import ThreadPoolExecutor

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    release, ran = threading.Event(), []
    first = asyncio.create_task(block(release.wait, 5))
    second = asyncio.create_task(block(ran.append, 1))
    await asyncio.sleep(0.01)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    release.set()
    assert await first
    assert ran == []


@real
async def test_an_error_beats_the_cancel() -> None:
    """What went wrong must not be lost because somebody had stopped waiting."""
    began, release = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        release.wait(5)
        raise OSError("disk full")

    task = asyncio.create_task(block(work))
    while not began.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    release.set()
    with pytest.raises(OSError, match="disk full"):
        await task


@real
async def test_a_spent_deadline_calls_nothing() -> None:
    """There is no time left to use a thread for."""
    ran: list[int] = []
    with pytest.raises(DeadlineExceeded):
        async with Scope("quick", timeout=0):
            with pytest.raises(ExpiredError, match="had passed before"):
                await block(ran.append, 1)
            await asyncio.sleep(1)
    assert ran == []
