"""Memory: the child that counts, what can go wrong with it, and the window of traced allocations."""

from __future__ import annotations

import asyncio
import errno
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import backstay
from backstay.observe.profile import _heap as heap_module
from backstay.observe.profile._asked import Asked, Refused
from backstay.observe.profile._forked import in_child
from backstay.observe.profile._heap import heap_profile


class Kept:
    """A type of which the tests hold some."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytes(3000)


def never(seconds: float) -> bool:
    return True


def test_a_child_sends_back_what_it_found() -> None:
    """Plain values, however many, and the seconds that the fork took."""
    found, paused = in_child(lambda: [("ä", 1, (2.5, None))] * 50_000, 20)
    assert len(found) == 50_000
    assert found[0] == ("ä", 1, (2.5, None))
    assert 0 < paused < 5


def children() -> set[str]:
    """The processes that this one has started and not buried; other tests may have left some."""
    return {
        pid
        for file in Path("/proc/self/task").glob("*/children")
        for pid in file.read_text().split()
    }


@pytest.mark.parametrize(
    "work", [lambda: 1 / 0, lambda: object(), lambda: os._exit(3), lambda: os.kill(os.getpid(), 9)]
)
def test_a_child_that_fails_is_told(work: Any) -> None:
    """An error, a result that cannot be sent, an early end: one sentence, and no child is left."""
    before = children()
    with pytest.raises(Refused, match="has failed"):
        in_child(work, 20)
    assert children() <= before


def test_a_child_that_hangs_is_killed() -> None:
    """A lock that another thread held in the parent is never released in the child."""
    before = children()
    with pytest.raises(Refused, match=r"within 0\.2 s"):
        in_child(lambda: time.sleep(30), 0.2)
    assert children() <= before


def test_no_fork_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process to be had, or a system that cannot fork."""

    def full() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    with pytest.raises(Refused, match="temporarily unavailable") as caught:
        in_child(lambda: 1, 1)
    assert caught.value.status == 503
    monkeypatch.delattr(os, "fork")
    with pytest.raises(Refused, match="cannot fork"):
        in_child(lambda: 1, 1)


async def test_a_census_counts_by_type() -> None:
    """Objects and bytes of each type, untracked ones such as bytes among them, and the counters."""
    backstay.install(exact=True)
    kept = [Kept() for _ in range(321)]
    profile = heap_profile(Asked("heap", gc=True), never)
    by_type = {sample.stack[0].function: sample.values for sample in profile.samples}
    assert by_type[f"{__name__}.Kept"][0] == len(kept)
    assert by_type["bytes"][1] > 321 * 3000
    assert profile.default == "inuse_space"
    assert "after a garbage collection" in profile.comments
    assert any(comment.startswith("tasks from ") for comment in profile.comments)


def test_few_types_are_told_and_the_rest_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a census is bounded, its total is not changed by that."""
    monkeypatch.setattr(heap_module, "_MOST_TYPES", 3)
    rows, _ = in_child(heap_module._census, 30)
    assert len(rows) == 4
    assert rows[3][0].endswith(" more types")


def test_a_type_with_a_size_of_its_own_making_is_counted() -> None:
    """Code of others that fails does not fail the census."""

    class Odd:
        def __sizeof__(self) -> int:
            raise ValueError("no size today")

    kept = Odd()
    rows = {name: objects for name, objects, _ in in_child(heap_module._census, 30)[0]}
    name = f"{__name__}.test_a_type_with_a_size_of_its_own_making_is_counted.<locals>.Odd"
    assert rows[name] == 1
    del kept


async def test_a_census_can_be_taken_again() -> None:
    """Python 3.12 frees once more what `_asyncio` shows of its free list; a second look then never ended."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def waiting() -> None:
        await future

    tasks = [asyncio.create_task(waiting()) for _ in range(5)]
    await asyncio.sleep(0)
    future.set_result(None)
    await asyncio.gather(*tasks)
    sizes, _ = in_child(lambda: [len(heap_module._census()) for _ in range(2)], 30)
    assert len(sizes) == 2


def test_a_child_that_eats_memory_ends_alone() -> None:
    """It may take a gigabyte, or as much as the process has; then it fails, and not the machine."""
    with pytest.raises(Refused, match="has failed"):
        in_child(lambda: len(bytearray(1 << 45)), 20)


def test_a_window_tells_what_stayed() -> None:
    """What is allocated in it and freed again is not told; afterwards nothing is traced."""
    kept: list[bytearray] = []

    def allocate(seconds: float) -> bool:
        kept.extend(bytearray(20_000) for _ in range(50))
        assert len(bytearray(30_000_000)) == 30_000_000  # gone at once
        return False

    profile = heap_profile(Asked("heap", seconds=1.0, frames=2), allocate)
    assert not tracemalloc.is_tracing()
    most = profile.samples[0]
    assert most.values[0] >= 50
    assert 1_000_000 < most.values[1] < 3_000_000
    assert "allocate" in most.stack[0].function
    assert profile.comments[0].startswith("allocated within 1 s")


def test_who_traces_already_goes_on_tracing() -> None:
    """The window is then the difference of two looks, and tracing is not ours to end."""
    kept: list[bytearray] = []
    tracemalloc.start()
    try:
        before = [bytearray(10_000_000)]
        profile = heap_profile(
            Asked("heap", seconds=1.0),
            lambda seconds: kept.extend([bytearray(500_000)] * 1) or False,
        )
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert profile.samples[0].values[1] < 5_000_000
    assert any(sample.values[1] >= 500_000 for sample in profile.samples)
    del before


def test_an_error_in_the_window_ends_the_tracing() -> None:
    """Whatever happens while it waits."""

    def breaks(seconds: float) -> bool:
        assert tracemalloc.is_tracing()
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        heap_profile(Asked("heap", seconds=1.0), breaks)
    assert not tracemalloc.is_tracing()

    def again(seconds: float) -> bool:
        with pytest.raises(Refused, match="already"):
            heap_profile(Asked("heap", seconds=1.0), never)
        return True

    assert heap_profile(Asked("heap", seconds=1.0), again).kinds
