"""What every guard has: a name, a mode, a place in the table."""

from __future__ import annotations

import gc

import pytest

from backstay._base import CallRejected, call_rejected
from backstay.errors import FullError, GuardMisuse
from backstay.guard import Guard, find, guards


class Doorman(Guard):
    """A guard that says no."""

    kind = "doorman"
    _kind = "doorman"

    def knock(self) -> str:
        self.refuse(FullError("the house is full", policy=self.name, retry_after=2.0))
        return "in"


def test_a_no_is_counted_told_and_raised() -> None:
    """Whoever listens hears of each rejection, with what it needs to be understood."""
    doorman = Doorman("front door")
    heard: list[CallRejected] = []
    unsubscribe = call_rejected.subscribe(heard.append)
    try:
        with pytest.raises(FullError, match="the house is full"):
            doorman.knock()
    finally:
        unsubscribe()
    assert heard == [CallRejected("front door", "doorman", "full", 2.0)]
    assert doorman.rejected == 1


def test_in_shadow_mode_nothing_is_refused() -> None:
    """The count tells what would have been refused."""
    doorman = Doorman("back door", mode="shadow")
    assert doorman.mode == "shadow"
    assert doorman.knock() == "in"
    assert doorman.rejected == 1
    doorman.update(mode="enforce")
    with pytest.raises(FullError):
        doorman.knock()
    with pytest.raises(ValueError, match="not 'off'"):
        doorman.update(mode="off")  # type: ignore[arg-type]


def test_the_table_finds_by_name_and_keeps_nothing_alive() -> None:
    """A guard that nobody uses any more is gone from the table."""
    doorman = Doorman("cellar door")
    assert find("cellar door") is doorman
    assert find("cellar door", "doorman") is doorman
    assert doorman in guards()
    with pytest.raises(KeyError, match="no guard is called 'attic'"):
        find("attic")
    twin = Doorman("cellar door")
    with pytest.raises(GuardMisuse, match="2 guards are called 'cellar door'"):
        find("cellar door")
    del doorman, twin
    gc.collect()
    with pytest.raises(KeyError):
        find("cellar door")


def test_a_guard_without_a_name_is_called_after_the_line_that_made_it() -> None:
    """In a table it can still be told from the others."""
    assert Doorman("").name.startswith("test_guard.py:")
