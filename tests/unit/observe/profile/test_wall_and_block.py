"""Drawn tasks stand for all of them, and blocked loops keep their names."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import backstay
from backstay import Scope
from backstay._base import BlockRecord, now
from backstay.multiloop import SysmonStatistics
from backstay.observe.profile import Frame, from_pprof, to_pprof
from backstay.observe.profile import _wall as wall_module
from backstay.observe.profile._block import block_profile, known_blocks
from backstay.observe.profile._wall import WallSampler, sampled, wall_profile


async def waiting(event: asyncio.Event) -> None:
    await event.wait()


async def test_drawn_tasks_stand_for_all() -> None:
    """Of 100 waiting tasks 16 are looked at, and together they count as 100 times the time passed."""
    backstay.install(exact=True)
    event = asyncio.Event()
    async with Scope("crowd", trace_id="c" * 32) as scope:
        for _ in range(100):
            scope.go(waiting, event)
        await asyncio.sleep(0)
        sampler = WallSampler(keep=lambda line: line.owner == "crowd")
        sampler.look(0.5)
        event.set()
    ((_, labels),) = sampler.table
    ((samples, spent),) = sampler.table.values()
    assert samples <= 16
    assert abs(spent - samples / 16 * 50e9) < 10e9
    assert dict(labels)["trace_id"] == "c" * 32


async def test_the_running_task_stands_for_itself() -> None:
    """It is looked at each time and never scaled."""
    backstay.install(exact=True)
    sampler = WallSampler(keep=lambda line: line.state == "running")
    for _ in range(3):
        sampler.look(0.1)
    assert sum(values[0] for values in sampler.table.values()) == 3
    assert sum(values[1] for values in sampler.table.values()) == 300_000_000


async def test_too_many_stacks_are_left_out_and_told(monkeypatch: object) -> None:
    """The memory of a profile is bounded."""
    backstay.install(exact=True)
    sampler = WallSampler()
    limit, wall_module._MOST_STACKS = wall_module._MOST_STACKS, 0
    try:
        sampler.look(0.1)
    finally:
        wall_module._MOST_STACKS = limit
    assert sampler.left_out
    assert not sampler.table


async def test_a_dear_look_makes_the_next_one_later() -> None:
    """Looks take at most 4 % of the time, however many tasks there are."""
    pauses: list[float] = []
    sampler = WallSampler()

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 3

    clock = [0.0]

    def look(elapsed_s: float) -> None:
        clock[0] += 0.02

    sampler.look = look  # type: ignore[method-assign]
    real, wall_module.now = wall_module.now, lambda: clock[0]
    try:
        sampled(sampler, 100.0, wait)
    finally:
        wall_module.now = real
    assert pauses[0] == 0.05
    assert [round(pause, 3) for pause in pauses[1:]] == [0.5, 0.5]


async def test_a_wall_profile_keeps_nothing_alive() -> None:
    """The tasks that were looked at can go."""
    backstay.install(exact=True)
    event = asyncio.Event()
    task = asyncio.create_task(waiting(event))
    await asyncio.sleep(0)
    looks = 0

    def wait(seconds: float) -> bool:
        nonlocal looks
        looks += 1
        return looks > 2

    profile = wall_profile(60.0, wait)
    gone = weakref.ref(task)
    event.set()
    await task
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
    assert profile.samples
    assert from_pprof(to_pprof(profile)).kinds == profile.kinds


def record(*, ended: bool, duration_s: float = 0.25) -> BlockRecord:
    return BlockRecord(
        site="/app/a.py:7",
        function="hold",
        duration_s=duration_s,
        started_at=now(),
        ended=ended,
        task="Task-1",
        owner_path=("main", "shop"),
        trace_id="a" * 32,
        stack=("sleep at /lib/x.py:1", "hold at /app/a.py:7"),
    )


def statistics(
    *recent: BlockRecord, present: BlockRecord | None = None, count: int = 0
) -> SysmonStatistics:
    return SysmonStatistics(True, 0.1, count or len(recent), 9.5, 1.0, present, recent, 0, 0, 0.0)


def test_what_a_sysmon_remembers_is_a_profile() -> None:
    """Equal blocks add up; the one that lasts is told apart; what is forgotten is said."""
    over = record(ended=True)
    profile = known_blocks(statistics(over, over, present=record(ended=False), count=40))
    ended, present = profile.samples
    assert (ended.values, present.values) == ((2, 500_000_000), (1, 250_000_000))
    assert ended.stack == (Frame("sleep", "/lib/x.py", 1), Frame("hold", "/app/a.py", 7))
    assert dict(present.labels) == {
        "blocked": "loop",
        "state": "now",
        "at": "/app/a.py:7",
        "task": "Task-1",
        "owner": "shop",
        "trace_id": "a" * 32,
    }
    assert profile.comments[1] == "38 earlier blocks are forgotten; together 9.500 s"


def test_a_block_without_frames_has_its_site() -> None:
    """Compiled code that shows no stack is named by what is known."""
    bare = BlockRecord("/app/b.py:9", "f", 1.0, 0.0)
    assert known_blocks(statistics(bare)).samples[0].stack == (Frame("f", "/app/b.py", 9),)


def test_no_watcher_is_left_behind() -> None:
    """Cut short or not, the thread that watched is gone."""
    before = threading.active_count()
    profile = block_profile(60.0, lambda seconds: True)
    assert profile.samples == ()
    assert threading.active_count() == before
