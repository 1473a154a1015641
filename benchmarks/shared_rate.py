"""Promise: a limit that processes share through Redis costs as much as a local one, not a round trip.

A real Redis on this machine; one process takes from a lease while its courier fetches the next.
The wall time of 100,000 checks, their cost against a bare await, and beside them a check of
`limits` against the same server, which asks it each time; in the same rounds.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from backstay.guard import SharedRate
from backstay.integrations.redis import RedisStore
from benchmarks.rounds import Figure, low

ROUNDS = 5
CHECKS = 100_000
TIMES = 2_000
TRIPS = 200
PLENTY = 5_000_000.0  # a second: so that what is measured is the limit, and not the wait for it


def load_services() -> Any:
    """Return the module that starts real servers; scripts are no package."""
    script = Path(__file__).parents[1] / "scripts" / "local_services.py"
    spec = importlib.util.spec_from_file_location("local_services", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def _nothing() -> None: ...


async def _bare() -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        await _nothing()
    return (time.process_time_ns() - before) / TIMES


async def _leased(limit: SharedRate) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        limit.try_acquire()
    return (time.process_time_ns() - before) / TIMES


async def _many(limit: SharedRate) -> float:
    """Return the milliseconds of many acquisitions, those that wait for the next lease included."""
    began = time.perf_counter()
    for number in range(CHECKS):
        await limit.acquire()
        if not number & 255:
            await asyncio.sleep(0)
    return (time.perf_counter() - began) * 1e3


async def _limits(limiter: MovingWindowRateLimiter) -> float:
    item = RateLimitItemPerSecond(1_000_000)
    before = time.process_time_ns()
    for _ in range(TRIPS):
        await limiter.hit(item, "bench")
    return (time.process_time_ns() - before) / TRIPS


async def _rounds(url: str) -> dict[str, float]:
    store = RedisStore.from_url(url)
    limiter = MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))
    samples: dict[str, list[float]] = {"bare": [], "leased": [], "many": [], "limits": []}
    async with SharedRate("bench", store, rate=PLENTY) as limit:
        for _ in range(ROUNDS):
            await asyncio.sleep(0.05)  # the lease is whole again
            samples["bare"].append(await _bare())
            samples["leased"].append(await _leased(limit))
            samples["many"].append(await _many(limit))
            samples["limits"].append(await _limits(limiter))
    await store.aclose()
    return {name: low(values) for name, values in samples.items()}


def measure() -> list[Figure]:
    """Return what checks cost."""
    services = load_services()
    with tempfile.TemporaryDirectory() as folder:
        server = services.RedisServer(Path(folder) / "redis")
        server.start()
        try:
            costs = asyncio.run(_rounds(server.url))
        finally:
            server.stop()
    note = f"a check {costs['leased']:.0f} ns, a bare await {costs['bare']:.0f} ns"
    peers = {"limits, moving window": costs["limits"] / costs["bare"]}
    per_second = CHECKS / costs["many"] * 1e3
    return [
        Figure("shared.check", costs["leased"] / costs["bare"], "x", note, peers),
        Figure(
            "shared.of_limits",
            costs["leased"] / costs["limits"],
            "x",
            f"CPU of a check, to that of `limits` ({costs['limits'] / 1e3:.0f} µs)",
        ),
        Figure(
            "shared.many", costs["many"], "ms", f"{CHECKS} acquisitions: {per_second:.0f} a second"
        ),
    ]
