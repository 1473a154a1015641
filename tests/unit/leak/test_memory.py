"""How much memory tasks hold: what is theirs alone, and not what they reach."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backstay import install, leak, uninstall
from backstay.leak._memory import memory_held

SHARED = [bytes(1_000_000)]
KEPT: list[asyncio.Task[None]] = []


async def holds(*things: Any) -> None:
    await asyncio.Event().wait()
    del things


def start(*things: Any) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(holds(*things))


async def end() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_is_a_tasks_own_is_counted_and_what_is_shared_is_not() -> None:
    """A buffer in a local, in a list in a local; not the one that a global refers to."""
    bare = [start() for _ in range(8)]
    own = [start([bytearray(50_000)], {"deep": bytes(10_000)}) for _ in range(8)]
    shared = [start(SHARED, SHARED[0]) for _ in range(8)]
    await asyncio.sleep(0)
    least = memory_held(bare)
    assert 500 < least.bytes_each < 5_000
    assert least.complete
    assert memory_held(own).bytes_each == pytest.approx(least.bytes_each + 60_300, abs=400)
    assert memory_held(shared).bytes_each == pytest.approx(least.bytes_each, abs=200)
    await end()


async def test_what_the_tasks_share_among_themselves_is_counted_once() -> None:
    """It would go with the last of them; to one alone it does not belong."""
    common = bytearray(80_000)
    tasks = [start(common) for _ in range(8)]
    del common
    await asyncio.sleep(0)
    assert 80_000 < memory_held(tasks).bytes < 120_000
    assert memory_held(tasks[:4]).bytes < 30_000
    await end()


async def test_a_small_budget_counts_less_and_says_so() -> None:
    """Never more than there is."""
    tasks = [start([bytearray(10_000) for _ in range(50)])]
    await asyncio.sleep(0)
    whole, part = memory_held(tasks), memory_held(tasks, budget=5)
    assert whole.complete
    assert not part.complete
    assert part.bytes < whole.bytes
    assert memory_held([]).bytes_each == 0
    await end()


async def test_no_code_of_the_application_is_run() -> None:
    """A `__sizeof__` of its own may do anything."""

    class Loud:
        def __sizeof__(self) -> int:
            raise AssertionError("asked")

    tasks = [start(Loud())]
    await asyncio.sleep(0)
    assert memory_held(tasks).bytes > 500
    await end()


async def test_the_report_tells_the_memory_of_a_finding() -> None:
    """Of one task and of all; growth and proof are ranked by it."""
    install(exact=True)

    KEPT.extend(asyncio.get_running_loop().create_task(holds()) for _ in range(20))
    KEPT.append(asyncio.get_running_loop().create_task(holds([bytearray(900_000)])))
    await asyncio.sleep(0)
    seen = leak.report(proof=leak.prove())
    heavy, light = seen.findings
    assert (heavy.count, light.count) == (1, 20)
    assert heavy.bytes_held is not None
    assert 900_000 < heavy.bytes_held < 910_000
    assert heavy.to_json()["bytes_held"] == heavy.bytes_held
    assert " kB each, 9" in seen.to_text()
    assert " kB in all, at least" in seen.to_text()
    KEPT.clear()
    await end()
    uninstall()
