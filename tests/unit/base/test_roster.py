"""A list of who is alive: complete, keeping nobody, safe from any thread."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import pytest

from backstay import Channel
from backstay._base import Roster
from backstay.channels._channel import ALIVE


class Thing:
    """Something that can be referred to weakly."""


def test_who_lives_is_on_it_and_who_died_is_not() -> None:
    """Also what died in a cycle; and nothing is kept of either."""
    roster = Roster[Thing]()
    one, other = Thing(), Thing()
    roster.add(one)
    roster.add(other)
    assert set(roster.living()) == {one, other}
    other.itself = other  # type: ignore[attr-defined]
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None
    assert roster.living() == [one]
    roster.discard(Thing())
    assert roster.living() == [one]
    roster.discard(one)
    assert roster.living() == []
    roster.add(one)
    del one
    assert roster.living() == []
    assert not roster._refs


@dataclass
class Equal:
    """All of them are equal, and none can be hashed."""

    name: str = "same"


def test_a_class_may_define_equality() -> None:
    """Each object is on it by itself, and leaves by itself; also a kind of channel that has it."""
    roster = Roster[Equal]()
    one, other = Equal(), Equal()
    roster.add(one)
    roster.add(other)
    assert len(roster.living()) == 2
    del one
    (left,) = roster.living()
    assert left is other
    roster.discard(Equal())
    assert roster.living() == [other]
    roster.discard(other)
    roster.discard(other)
    assert roster.living() == []
    roster.add(other)
    del left, other
    assert not roster._by_id

    class Odd(Channel[int]):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Odd)

    first, second = Odd(1, name="odd"), Odd(1, name="odd")
    assert sum(one is first or one is second for one in ALIVE.living()) == 2


def test_a_list_that_changes_while_it_is_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that never stops changing is told as empty, for the next scrape to see."""

    class Changing(set[Any]):
        times = 3

        def __iter__(self) -> Any:
            self.times -= 1
            if self.times >= 0:
                raise RuntimeError("Set changed size during iteration")
            return super().__iter__()

    roster, one = Roster[Thing](), Thing()
    roster._refs = Changing()
    roster.enter, roster.leave = roster._refs.add, roster._refs.discard
    roster.add(one)
    assert roster.living() == [one]
    roster._refs.times = 100  # type: ignore[attr-defined]
    assert roster.living() == []


def test_threads_may_come_and_go_meanwhile() -> None:
    """Four make and drop channels while the list is read; what stays is found each time."""
    stays = [Channel[int](1, name="stays") for _ in range(10)]
    over = threading.Event()
    errors: list[BaseException] = []

    def churn() -> None:
        try:
            while not over.is_set():
                crowd = [Channel[int](1) for _ in range(20)]
                del crowd
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            assert sum(one.name == "stays" for one in ALIVE.living()) >= 10
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert len(stays) == 10
