"""What is kept alive: nothing that has ended."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest

from backstay import Scope, install, timeout
from backstay.testing import run_virtual


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
