"""Virtual time: it jumps when all is blocked, and says when nothing can ever happen."""

from __future__ import annotations

import asyncio
import time

import pytest

import backstay
from backstay.testing import DeadlockError, VirtualClock, VirtualLoop, run_virtual


def test_a_day_passes_in_no_time() -> None:
    """Sleeping costs nothing, and every timer fires at its exact time."""
    fired: list[float] = []

    async def main() -> str:
        loop = asyncio.get_running_loop()
        for after in (86_400.0, 0.25, 3600.0):
            loop.call_later(after, lambda: fired.append(backstay.now()))
        await asyncio.sleep(100_000)
        return "done"

    before = time.perf_counter()
    assert run_virtual(main) == "done"
    assert time.perf_counter() - before < 5
    assert fired == [0.25, 3600.0, 86_400.0]


def test_time_stands_still_while_anything_can_run() -> None:
    """A jump happens only when every task waits."""

    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return backstay.now()

    assert run_virtual(main) == 0.0


def test_a_deadlock_is_an_error_and_not_a_hang() -> None:
    """When no timer is set and every task waits, the run ends with a clear error."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match="nothing can ever happen"):
        run_virtual(main)


def test_threads_work_with_patience() -> None:
    """With patience, work in other threads is waited for before time jumps."""

    async def main() -> tuple[int, float]:
        result = await asyncio.to_thread(lambda: 7)
        await asyncio.sleep(5)
        return result, backstay.now()

    assert run_virtual(main, patience=0.05) == (7, 5.0)


def test_the_clock_can_be_watched_from_outside() -> None:
    """A clock handed in is the one that moves, and runs can be chained on it."""
    clock = VirtualClock(10.0)
    run_virtual(asyncio.sleep, 5, clock=clock)
    assert clock.monotonic() == 15.0
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(asyncio.sleep(5))
    assert clock.monotonic() == 20.0


def test_tracking_can_be_left_off() -> None:
    """track=False leaves the loop without a task factory."""

    async def main() -> object:
        return asyncio.get_running_loop().get_task_factory()

    assert run_virtual(main, track=False) is None
    assert run_virtual(main) is not None


def test_a_thread_without_patience_is_told_apart_from_a_deadlock() -> None:
    """The error names the remedy, the clock of before is back, and nothing is left to warn of."""

    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0.05)

    before = backstay.now()
    with pytest.raises(DeadlockError, match="patience"):
        run_virtual(main)
    assert 0 <= backstay.now() - before < 10


def test_the_loop_closes_while_a_thread_is_at_work() -> None:
    """The threads of the executor are joined in real time, not given up after 300 virtual seconds."""

    async def main() -> str:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)
        return "done"

    assert run_virtual(main) == "done"


def test_a_deadlock_is_cleaned_up() -> None:
    """After a deadlock every task gets its chance to clean up, and scopes end in order."""
    ended: list[str] = []

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("child")

    async def main() -> None:
        async with backstay.Scope("s") as scope:
            scope.go(child)
        ended.append("never")

    with pytest.raises(DeadlockError):
        run_virtual(main)
    assert ended == ["child"]
