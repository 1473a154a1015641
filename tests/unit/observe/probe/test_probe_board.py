"""Probes on real code of this process: what they record, when they end, and that they leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import weakref
from collections.abc import Iterator

import pytest
import watched

import backstay
from backstay import Scope
from backstay.context import TRACE, bind
from backstay.errors import UsageError
from backstay.observe.probe import Board, Probe

pytestmark = pytest.mark.real_loop

needs_monitoring = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="Python 3.11 has no sys.monitoring: see the tests of tracing"
)


class Thing:
    """Something that can be watched as it goes."""


@pytest.fixture
def board() -> Iterator[Board]:
    """A board whose probes are gone after the test."""
    one = Board()
    yield one
    one.close()


async def set_(board: Board, mark: str, *expressions: str, **limits: float) -> Probe:
    """Set a probe the way the admin plane does: from another thread, while the loop goes on."""
    backstay.install()
    return await asyncio.to_thread(board.set, watched.place(mark), expressions, **limits)


async def test_a_hit_tells_the_values_the_stack_and_the_owner(board: Board) -> None:
    """Everything that is known where the line runs is in the record; secrets are hidden by name."""
    probe = await set_(board, "return", "prices[1]", "seen", "result", "token", "nothing")

    async def work() -> int:
        return watched.total([1, 2, 3])

    async with Scope("shop") as scope:
        with bind(TRACE, "ab" * 16):
            task = scope.go(work)
        assert await task == 6
    (hit,) = probe.hits
    assert hit.values == {
        "prices[1]": "2",
        "seen": "{'items': [1, 2, 3], 'password': <hidden>}",
        "result": "6",
        "token": "<hidden>",
        "nothing": "<no such variable here>",
    }
    assert hit.owner == ("shop",)
    assert hit.trace_id == "ab" * 16
    assert hit.stack[-1].startswith(f"total at {watched.__file__}:{watched.line('return')}")
    assert "work at" in hit.stack[0]
    assert len(hit.stack) == 2
    assert hit.site is not None
    assert "test_probe_board.py" in hit.site


async def test_enough_hits_end_it_and_the_line_costs_nothing_any_more(board: Board) -> None:
    """After the last wanted hit nothing is recorded, and no tool or trace function stays."""
    probe = await set_(board, "sum", hits=3, rate=100)
    for _ in range(50):
        watched.total([1])
        await asyncio.sleep(0.003)
    assert (probe.ended, len(probe.hits)) == ("hits", 3)
    await asyncio.to_thread(board.close)
    assert sys.gettrace() is None
    if sys.version_info >= (3, 12):
        assert [sys.monitoring.get_tool(number) for number in (3, 4)] == [None, None]


async def test_more_hits_than_the_rate_are_counted_and_not_recorded(board: Board) -> None:
    """A hot line is recorded at the rate that was asked for."""
    probe = await set_(board, "sum", hits=1000, rate=2)
    for _ in range(200):
        watched.total([1])
    assert len(probe.hits) == 1
    assert probe.skipped == 199


async def test_a_probe_reaches_code_that_waits_already(board: Board) -> None:
    """A coroutine that was inside the function when the probe was set reports its next lines."""
    backstay.install()
    event = asyncio.Event()
    task = asyncio.ensure_future(watched.wait(event))
    await asyncio.sleep(0.02)
    probe = await set_(board, "woken")
    event.set()
    assert await task == "done"
    assert len(probe.hits) == 1
    assert probe.hits[0].stack[-1].startswith("wait at ")


@pytest.mark.parametrize(
    ("mark", "act", "name"),
    [
        ("yield", lambda: list(watched.numbers(1)), "numbers"),
        ("comprehension", lambda: watched.squares(3), "squares"),
        ("inner", lambda: watched.maker()(1), "maker.<locals>.inner"),
        ("lambda", lambda: watched.by_key([1]), "by_key"),
        ("hidden", watched.hidden, "hidden"),
        ("property", lambda: watched.Shelf().size, "Shelf.size"),
    ],
)
async def test_code_of_every_kind_is_found(board: Board, mark: str, act: object, name: str) -> None:
    """Generators, comprehensions, closures, lambdas, decorated functions and properties can be watched."""
    probe = await set_(board, mark)
    assert callable(act)
    act()
    assert probe.hits
    assert probe.hits[0].stack[-1].startswith(f"{name} at ")


async def test_a_second_probe_beside_the_first_is_struck_too(board: Board) -> None:
    """Lines that were switched off for the first probe report again for the second."""
    first = await set_(board, "first")
    watched.total([1])
    second = await set_(board, "return")
    await asyncio.sleep(0.11)
    watched.total([1])
    assert [len(first.hits), len(second.hits)] == [2, 1]


async def test_it_goes_when_nobody_asks_for_it_any_more() -> None:
    """Whoever set it may be killed: the probe is taken away by itself, soon."""
    board = Board(lease=0.1)
    probe = await set_(board, "sum")
    until = time.monotonic() + 5
    while probe.open and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert probe.ended == "nobody asks"
    assert sys.gettrace() is None
    watched.total([1])
    assert not probe.hits


async def test_it_goes_with_its_time(board: Board) -> None:
    """The seconds that were asked for are kept."""
    probe = await set_(board, "sum", seconds=0.1)
    until = time.monotonic() + 5
    while probe.open and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert probe.ended == "time"


async def test_it_keeps_nothing_alive(board: Board) -> None:
    """What a waiting function has dropped is gone once the probe is, though it was shown."""
    backstay.install()
    event, thing = asyncio.Event(), Thing()
    gone = weakref.ref(thing)
    held = [thing]
    task = asyncio.ensure_future(watched.wait(event, held))
    await asyncio.sleep(0.02)
    probe = await set_(board, "nap", "big", "local", hits=2, rate=100)
    while probe.open:
        await asyncio.sleep(0.01)
    assert probe.hits[0].values == {"big": "None", "local": "<no such variable here>"}
    del thing
    held.clear()
    await asyncio.to_thread(board.close)
    gc.collect()
    assert gone() is None
    event.set()
    await task


async def test_what_is_read_is_not_kept(board: Board) -> None:
    """The value of an expression lives no longer than without a probe."""
    backstay.install()
    probe = await set_(board, "sum", "prices", "seen")
    thing = Thing()
    gone = weakref.ref(thing)
    with pytest.raises(TypeError):
        watched.total([thing])  # type: ignore[list-item]
    assert probe.hits[0].values["prices"] == "[<Thing object>]"
    del thing
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("watched.py", "is not FILE:LINE"),
        ("watched.py:x", "is not FILE:LINE"),
        ("nowhere/watched.py:3", "no loaded module comes from a file"),
        (f"watched.py:{watched.line('first') - 1}", r"the nearest lines are \d+"),
        ("__init__.py:1", r"may be any of \d+ files"),
    ],
)
async def test_a_place_that_is_none_is_refused_with_what_there_is(
    board: Board, where: str, says: str
) -> None:
    """The message names the nearest lines, or the files that may be meant."""
    with pytest.raises(UsageError, match=says):
        await asyncio.to_thread(board.set, where)


@needs_monitoring
async def test_tools_that_hold_all_numbers_are_respected(board: Board) -> None:
    """A probe takes no number from another tool, and says who has them."""
    monitoring = sys.monitoring
    for number in (3, 4):
        monitoring.use_tool_id(number, f"somebody {number}")
    try:
        with pytest.raises(UsageError, match="taken by 'somebody 4', 'somebody 3'"):
            await set_(board, "sum")
    finally:
        for number in (3, 4):
            monitoring.free_tool_id(number)
    await set_(board, "sum")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="later Pythons have sys.monitoring for it")
async def test_a_debugger_is_respected(board: Board) -> None:
    """Where the loop's thread is traced, no probe is set and the trace function stays."""

    def tracer(*_: object) -> None:
        return None

    sys.settrace(tracer)
    try:
        with pytest.raises(UsageError, match="traced by a debugger or coverage"):
            await set_(board, "sum")
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(None)
