"""Each way to wait at a guard has its name, and says which guard it is and how full."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from backstay.guard import Bulkhead, Gate, MemoryStore, Pool, Rate, SharedRate

Stack = AsyncExitStack


def test_bulkhead(classify: Any) -> None:
    """A call that waits for a place."""

    async def call(stack: Stack) -> None:
        bulkhead = Bulkhead(1, 5, name="bank", target=None)
        await bulkhead.acquire()
        await bulkhead.acquire()

    seen = classify(call, "bulkhead")
    assert seen.kind == "semaphore"
    assert "'bank'" in seen.detail
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_rate(classify: Any) -> None:
    """A call that waits for its turn."""

    async def call(stack: Stack) -> None:
        rate = Rate(0.01, 1, name="lookups")
        await rate.acquire()
        await rate.acquire()

    seen = classify(call, "rate limit")
    assert seen.kind == "timer"
    assert "'lookups' 0.01/s" in seen.detail


def test_shared_rate(classify: Any) -> None:
    """A call that waits for its place in the limit of all processes."""

    async def call(stack: Stack) -> None:
        limit = SharedRate("quota", MemoryStore(), rate=0.01, burst=1, lease=0)
        await stack.enter_async_context(limit)
        await limit.acquire()
        await limit.acquire()

    seen = classify(call, "shared rate")
    assert seen.kind == "timer"
    assert "'quota' 0.01/s shared, 1 waiting" in seen.detail


def test_gate(classify: Any) -> None:
    """A caller that waits in front of somebody else's pool."""

    async def call(stack: Stack) -> None:
        gate = Gate(1, name="orders-db", target=None)
        await stack.enter_async_context(gate.hold())
        async with gate.hold():
            pass

    seen = classify(call, "bulkhead")
    assert "'orders-db' 1 of 1 in flight" in seen.detail


def test_pool(classify: Any) -> None:
    """A caller that waits for a resource."""

    async def connect() -> object:
        return object()

    async def call(stack: Stack) -> None:
        pool = await stack.enter_async_context(Pool(connect, max_open=1, name="orders-db"))
        held = await pool.acquire()
        stack.callback(pool.release, held)
        await pool.acquire()

    seen = classify(call, "pool", "1 of 1 in use")
    assert seen.kind == "semaphore"
    assert "'orders-db' 1 of 1 in use" in seen.detail
