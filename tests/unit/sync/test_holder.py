"""Holder: who has it, in words."""

from __future__ import annotations

import asyncio

from backstay.sync._holder import Holder, describe, held_by, misuse


async def test_a_holder_is_described_by_what_it_does() -> None:
    """Waiting, running and ended holders read differently."""
    task = asyncio.create_task(asyncio.sleep(5), name="a")
    await asyncio.sleep(2)
    waits = describe(task, 0.5, None)
    assert (waits.task, waits.since, waits.held_s, waits.site) == ("a", 0.5, 1.5, "")
    assert str(waits).startswith("task 'a' has held it for 1.5 s (now in sleep (3.0 s left) at ")
    await task
    assert str(describe(task, 5.0, None)).endswith("for 0 s (and that task has ended)")
    me = asyncio.current_task()
    assert me is not None
    assert describe(me, 5.0, None).doing == ""
    assert held_by("cache", task, 1.5) == "'cache' held by 'a' for 3.5 s"


def test_the_words_of_a_holder_with_a_line() -> None:
    """The line where it was taken comes first."""
    holder = Holder("a", 0.0, 3.25, "/app/cache.py:12", "")
    assert str(holder) == "task 'a' has held it for 3.25 s (taken at /app/cache.py:12)"
    assert str(Holder("a", 0.0, 1.0, "", "")) == "task 'a' has held it for 1 s"


def test_the_error_carries_what_it_says() -> None:
    """Fields for machines beside the sentence."""
    error = misuse("cache", "no", Holder("a", 0.0, 2.0, "", ""), "Do it right.")
    assert str(error) == "no: task 'a' has held it for 2 s. Do it right."
    assert (error.lock, error.holder, error.held_s) == ("cache", "a", 2.0)
    nobody = misuse("cache", "no", None, "Do it right.")
    assert str(nobody) == "no: nobody holds it. Do it right."
    assert (nobody.holder, nobody.held_s) == (None, None)
