"""Timers, threads and async generators that a test has left; told on request only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from backstay.leak._generators import not_in_hand, suspended
from backstay.leak._keepers_of_loop import loop_keepers
from backstay.leak._keepers_of_process import process_keepers
from backstay.leak.per_test._checked import Checked
from backstay.leak.per_test._left import Left

__all__ = ["EXTRAS", "Before", "generators_on", "threads_since", "timers_on"]

EXTRAS = ("timers", "threads", "generators")
_ROUNDS_S = (0.001, 0.01, 0.05, 0.1, 0.2)

Before = Counter[tuple[str, str]]
"""What there was before the test, by name and place."""


def timers_on(test: Checked, loop: asyncio.AbstractEventLoop, before: Before) -> list[Left]:
    """Return timers that wait on `loop`; a task that sleeps is told as a task."""
    found: list[Left] = []
    for one in loop_keepers(loop):
        count = one.count - before[one.name, one.site]
        if one.kind == "timer" and count > 0 and "sleep" not in one.name:
            advice = "Cancel the handle that `call_later` or `call_at` returned."
            found += [_left("TIMER", one.name, one.site, test, one.detail, advice)] * count
    return found


def generators_on(test: Checked, loop: asyncio.AbstractEventLoop) -> list[Left]:
    """Return async generators that stand at a `yield` and that no task has in hand."""
    advice = "Close it: `async with contextlib.aclosing(source()) as items:` around the loop that leaves early."
    return [
        _left(
            "GENERATOR", one.function, one.definition, test, f"yield at {one.suspended_at}", advice
        )
        for one in not_in_hand(loop, suspended(loop))
    ]


def threads_since(test: Checked, before: set[int]) -> list[Left]:
    """Return threads, no daemons, that were not there before; they get up to 0.4 s to end."""
    for delay in _ROUNDS_S:
        if not _new_threads(before):
            return []
        time.sleep(delay)
    if not _new_threads(before):
        return []
    advice = "Tell it to stop and `join()` it, or make it a daemon if it may die with the process."
    return [
        _left("THREAD", one.name, one.site, test, one.detail, advice)
        for one in process_keepers(())
        if one.kind in ("thread", "job")
    ]


def _new_threads(before: Iterable[int]) -> bool:
    known = set(before)
    return any(one.ident not in known and not one.daemon for one in threading.enumerate())


def _left(
    verdict: Literal["TIMER", "THREAD", "GENERATOR"],
    name: str,
    site: str,
    test: Checked,
    detail: str,
    advice: str,
) -> Left:
    return Left(
        verdict=verdict,
        name=name,
        coroutine=name,
        site=site,
        function=name,
        owner=str(test),
        age=None,
        blocked_on=detail,
        chain=(),
        held_by=None,
        advice=advice,
    )
