"""The watch on blocked loops, with real loops and real blocks."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from backstay._base import BlockRecord, loop_blocked, now
from backstay.multiloop import Sysmon, _loop_sight
from backstay.multiloop._sysmon import _Watched
from backstay.tasks import Scope

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.new_event_loop,
    uvloop.new_event_loop,
]
both = pytest.mark.parametrize("factory", LOOPS, ids=["stock", "uvloop"])


def run(main: Callable[[], Any], factory: Callable[[], asyncio.AbstractEventLoop]) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


class Ear:
    """Hears of blocks, and when it did."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, BlockRecord]] = []
        self.enough = threading.Event()

    def __call__(self, block: BlockRecord) -> None:
        self.heard.append((now(), block))
        if block.ended:
            self.enough.set()

    def __enter__(self) -> Ear:
        self._end = loop_blocked.subscribe(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def block_here(seconds: float) -> str:
    """Block, and return the line that does."""
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    time.sleep(seconds)
    return f"{__file__}:{line}"


async def until(condition: Callable[[], object]) -> None:
    """Give other threads up to two seconds."""
    end = now() + 2.0
    while not condition():
        assert now() < end, "this took too long"
        await asyncio.sleep(0.005)


@both
def test_a_block_of_100_ms_is_reported_within_40_with_its_line(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """While it lasts, by the line of the user's code, with the task and its owner."""

    async def main() -> None:
        quickest = 1.0
        for _ in range(5):  # one bad moment of a shared machine is no verdict
            with Ear() as ear, Sysmon(asyncio.get_running_loop(), limit=0.02) as sysmon:
                async with Scope("checkout", trace_id="t-1") as scope:

                    async def work() -> tuple[float, str]:
                        await asyncio.sleep(0.03)
                        return now(), block_here(0.1)

                    task = scope.go(work)
                    began, site = await task
                # A crowded machine may hold up anything for 20 ms: ours is the one that sleeps.
                await until(lambda: [b for b in sysmon.blocks if b.function == "block_here"])
                heard = [one for one in ear.heard if one[1].function == "block_here"]
                first, last = heard[0], heard[-1]
                assert {block.site for _, block in heard} == {site}
                assert first[1].function == "block_here"
                assert first[1].owner_path == ("checkout",)
                assert first[1].trace_id == "t-1"
                assert first[1].task == task.get_name()
                assert first[1].stack[0] == f"block_here at {site}"
                assert not first[1].ended
                assert last[1].ended
                assert last[1].started_at == pytest.approx(time.time(), abs=2.0)
                assert last[1] in sysmon.blocks
                assert last[1].duration_s >= 0.09
                quickest = min(quickest, first[0] - began)
            if quickest <= 0.04:
                break
        assert quickest <= 0.04

    run(main, factory)


@pytest.mark.skipif(
    not _loop_sight.sees_frames(), reason="without the GIL there is nothing that it could hold"
)
@both
def test_compiled_code_that_holds_the_interpreter_is_named(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A regular expression that backtracks lets no thread run; its caller is named afterwards."""
    tail = 21

    def backtrack() -> float:
        began = now()
        re.match(r"(a+)+$", "a" * tail + "b")
        return now() - began

    async def main() -> None:
        nonlocal tail
        while backtrack() < 0.15:  # as long on any machine
            tail += 1
        await asyncio.sleep(0.05)
        with Sysmon(asyncio.get_running_loop(), limit=0.05) as sysmon:
            await until(lambda: sysmon.statistics().looks > 3)
            took = backtrack()
            await until(lambda: sysmon.blocks)
            block = max(sysmon.blocks, key=lambda one: one.duration_s)
            assert block.function.endswith("backtrack")
            assert block.duration_s == pytest.approx(took, rel=0.5)

    run(main, factory)


def test_an_idle_or_busy_loop_is_not_accused() -> None:
    """Thousands of short callbacks keep a loop busy without ever blocking it."""

    async def main() -> None:
        async def spin() -> None:
            end = now() + 0.8
            while now() < end:
                await asyncio.sleep(0)

        # A crowded machine may take the processor away for a tenth of a second, and that is a block.
        with Sysmon(asyncio.get_running_loop(), limit=0.4) as sysmon:
            await asyncio.sleep(0.2)
            await asyncio.gather(*(spin() for _ in range(50)))
            await asyncio.sleep(0.05)
            known = sysmon.statistics()
        assert known.count == 0, known.recent
        assert known.running
        assert known.looks > 0
        assert not sysmon.statistics().running

    asyncio.run(main())


@both
def test_a_loop_blocked_from_its_first_step_on(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Nothing of ours has run on the loop yet, and its line is found all the same."""
    loop = factory()
    with Sysmon(loop, limit=0.02) as sysmon:

        async def main() -> str:
            sysmon.nudge()
            return block_here(0.15)

        site = loop.run_until_complete(main())
        loop.run_until_complete(until(lambda: sysmon.blocks))
        assert sysmon.blocks[0].site == site
        assert sysmon.blocks[0].thread == "MainThread"
    loop.close()


def test_it_says_what_blocks_now() -> None:
    """Asked from another thread while the block lasts."""

    async def main() -> None:
        seen: list[BlockRecord | None] = []
        with Sysmon(asyncio.get_running_loop(), limit=0.02) as sysmon:

            def ask() -> None:
                end = now() + 2.0
                while sysmon.statistics().now is None and now() < end:
                    time.sleep(0.005)
                seen.append(sysmon.statistics().now)
                release.set()

            release = threading.Event()
            await asyncio.sleep(0.02)
            asker = threading.Thread(target=ask)
            asker.start()
            release.wait(3.0)
            asker.join()
            await until(lambda: sysmon.statistics().now is None)
            known = sysmon.statistics()
        assert seen[0] is not None
        assert not seen[0].ended
        assert known.count == len(sysmon.blocks) >= 1
        assert known.longest_s == max(block.duration_s for block in sysmon.blocks)
        assert known.total_s == pytest.approx(sum(block.duration_s for block in sysmon.blocks))

    asyncio.run(main())


def test_several_loops_and_a_listener_of_its_own() -> None:
    """A function names the loops; what is heard by `on_block` is not on the hook."""
    heard: list[tuple[asyncio.AbstractEventLoop, BlockRecord]] = []
    loops = [asyncio.new_event_loop() for _ in range(2)]
    with (
        Ear() as ear,
        Sysmon(lambda: loops, 0.02, on_block=lambda *what: heard.append(what)) as sysmon,
    ):

        async def work() -> None:
            sysmon.nudge()
            await asyncio.sleep(0.02)
            block_here(0.1)
            await asyncio.sleep(0.05)

        threads = [
            threading.Thread(target=loop.run_until_complete, args=(work(),), name=f"t{at}")
            for at, loop in enumerate(loops)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ours = [(loop, block) for loop, block in heard if block.function == "block_here"]
    ended = [(loop, block.thread) for loop, block in ours if block.ended]
    assert sorted(thread for _, thread in ended) == ["t0", "t1"]
    assert {id(loop) for loop, _ in ended} == {id(loop) for loop in loops}
    assert ear.heard == []
    for loop in loops:
        loop.close()


def test_start_and_stop_may_be_repeated() -> None:
    """And a closed loop is no error."""
    loop = asyncio.new_event_loop()
    sysmon = Sysmon(loop)
    assert sysmon.start() is sysmon.start()
    loop.close()
    sysmon.nudge()
    sysmon.stop()
    sysmon.stop()
    assert not sysmon.statistics().running
    with pytest.raises(ValueError, match="more than 0 seconds"):
        Sysmon(loop, limit=0)


def test_who_was_late_itself_accuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stood still is not the loop's fault; a loop that worked meanwhile is to blame."""
    loop = asyncio.new_event_loop()
    sysmon = Sysmon(loop, 0.1)
    one = _Watched(loop, 0.1)
    one.cpu_s = 1.0

    def held(came_round: float | None, used_s: float | None) -> float | None:
        monkeypatch.setattr(one.sight, "came_round_at", lambda: came_round)
        before = None if used_s is None else 1.0 - used_s
        return sysmon._held_since(one, 10.0, 0.5, before)

    assert held(9.0, 0.5) == 9.5, "since the look that should have been, at the earliest"
    assert held(9.7, 0.5) == 9.7
    assert held(9.7, 0.05) is None, "it hardly ran"
    assert held(9.7, None) is None, "nobody knows whether it ran"
    assert held(9.95, 0.5) is None, "it came round lately"
    assert held(None, 0.5) is None, "nobody knows when it came round"
    assert sysmon.statistics().late == 4
    loop.close()


def test_without_frames_the_loop_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a build without the GIL, where the stack of a running thread must not be read."""
    monkeypatch.setattr(_loop_sight, "sees_frames", lambda: False)

    async def main() -> None:
        with Sysmon(asyncio.get_running_loop(), limit=0.05) as sysmon:
            await asyncio.sleep(0.1)
            site = block_here(0.15)
            await until(lambda: site in [block.site for block in sysmon.blocks])

    asyncio.run(main())


def test_frames_are_trusted_with_the_gil_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds that have no such question have the GIL."""
    import sys

    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not _loop_sight.sees_frames()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert _loop_sight.sees_frames()


def test_a_failing_look_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever watches must not die unseen."""
    times = 0
    again = threading.Event()

    def loops() -> list[asyncio.AbstractEventLoop]:
        nonlocal times
        times += 1
        if times == 1:
            raise ZeroDivisionError
        again.set()
        return []

    with Sysmon(loops) as sysmon:
        sysmon.nudge()
        assert again.wait(2.0)
    assert "sysmon failed at one look" in caplog.text
