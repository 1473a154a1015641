"""AtomicCounter: several threads lose no update."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from backstay.sync import AtomicCounter


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    """Let the interpreter change threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count: int, work: object) -> None:
    """Run `work` in several threads at the same time."""
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        work()  # type: ignore[operator]

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_operation_does_what_it_says() -> None:
    """Load, store, add, swap and compare-and-swap on one thread."""
    counter = AtomicCounter(5)
    assert counter.load() == 5
    assert counter.add() == 6
    assert counter.add(-2) == 4
    counter.store(10)
    assert counter.swap(11) == 10
    assert not counter.compare_and_swap(10, 12)
    assert counter.compare_and_swap(11, 12)
    assert repr(counter) == "AtomicCounter(12)"


def test_additions_of_several_threads_all_count() -> None:
    """No update is lost between four threads."""
    counter = AtomicCounter()

    def work() -> None:
        for _ in range(5_000):
            counter.add()

    in_threads(4, work)
    assert counter.load() == 20_000


def test_additions_return_each_number_once() -> None:
    """What `add` returns is the value that this very addition made."""
    counter = AtomicCounter()
    seen: list[int] = []

    def work() -> None:
        mine = [counter.add() for _ in range(2_000)]
        seen.extend(mine)

    in_threads(4, work)
    assert sorted(seen) == list(range(1, 8_001))


def test_compare_and_swap_lets_one_win() -> None:
    """Of several threads that swap the same value, one is told that it did."""
    counter = AtomicCounter()
    wins: list[int] = []

    def work() -> None:
        for turn in range(1_000):
            if counter.compare_and_swap(turn, turn + 1):
                wins.append(turn)

    in_threads(4, work)
    assert len(wins) == len(set(wins)) == counter.load()


def test_swaps_hand_each_value_on_once() -> None:
    """Whatever is swapped in comes out exactly once."""
    counter = AtomicCounter(-1)
    out: list[int] = []
    numbers = iter(range(4_000))

    def work() -> None:
        for _ in range(1_000):
            out.append(counter.swap(next(numbers)))

    in_threads(4, work)
    assert sorted([*out, counter.load()]) == [-1, *range(4_000)]
