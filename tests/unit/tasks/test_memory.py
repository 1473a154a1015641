"""What is kept alive: nothing that has ended."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref

import pytest

from backstay import Scope, install, timeout
from backstay.context import Key, bind
from backstay.testing import run_virtual


async def fail() -> None:
    await asyncio.sleep(0)
    raise KeyError("boom")


async def nothing() -> None:
    await asyncio.sleep(0)


@pytest.mark.slow
def test_scopes_leave_no_memory_behind() -> None:
    """Ten times as many scopes, children, timeouts and errors hold as much memory as before."""

    async def one(n: int) -> None:
        try:
            async with Scope(f"s{n % 7}", timeout=30, max_tasks=3) as scope:
                scope.go(nothing)
                async with timeout(20):
                    await scope.go_wait(nothing)
                if n % 3 == 0:
                    raise ValueError("now and then")
                if n % 3 == 1:
                    scope.cancel("now and then")
        except ValueError:
            pass

    async def main() -> None:
        sizes: list[int] = []
        async with Scope("app") as app:
            for _ in range(4):
                for n in range(1000):
                    await app.go(one, n)
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        assert sizes[-1] - sizes[0] < 20_000, sizes  # bytes; 3,000 scopes would be megabytes

    tracemalloc.start()
    try:
        run_virtual(main)
    finally:
        tracemalloc.stop()


def test_a_task_that_lives_on_holds_no_more_than_its_owner() -> None:
    """A background task of a request keeps the request's small record, not its host or parents."""

    async def main() -> None:
        install()
        async with Scope("app"):
            async with Scope("request", timeout=5) as request:
                task = asyncio.create_task(asyncio.sleep(0.01))
            assert not hasattr(request, "_host")
            assert not hasattr(request, "_interrupt")
            assert request._timer is None
            assert request.tasks == frozenset()
            await task

    asyncio.run(main())


async def test_a_task_that_respawns_itself_holds_no_chain_of_scopes() -> None:
    """Scopes that have ended are not kept alive by the scopes born in them."""
    alive: list[weakref.ref[Scope]] = []

    async def generation(n: int) -> None:
        async with Scope(f"g{n}") as scope:
            alive.append(weakref.ref(scope))
            if n < 50:
                following.append(asyncio.create_task(generation(n + 1)))
        await asyncio.sleep(0)

    following: list[asyncio.Task[None]] = [asyncio.create_task(generation(0))]
    while following:
        await following.pop(0)
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 2


async def test_raised_errors_hold_no_reference_cycle() -> None:
    """A deadline or an error group is freed at once, without the cycle collector."""
    gc.collect()
    gc.disable()
    try:
        refs: list[weakref.ref[Scope]] = []
        for fails in (True, False):
            try:
                async with Scope("s", timeout=1.0) as scope:
                    refs.append(weakref.ref(scope))
                    if fails:
                        scope.go(fail)
                    await asyncio.sleep(5)
            except (TimeoutError, ExceptionGroup):
                pass
            del scope
        await asyncio.sleep(0)
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


async def test_timers_that_were_cancelled_hold_no_context() -> None:
    """A quick scope or timeout leaves nothing of its caller behind in the loop's timers."""

    class Body:
        pass

    key = Key[Body]("body")

    async def request() -> weakref.ref[Body]:
        body = Body()
        with bind(key, body):
            async with Scope("request", timeout=100), timeout(50):
                return weakref.ref(body)

    gone = await asyncio.create_task(request())
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
