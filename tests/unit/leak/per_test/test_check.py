"""The check around a block of code: whose tasks, which verdict, and what it leaves as it was."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from backstay import Scope, forever, leak
from backstay.errors import NoOwner, UsageError
from backstay.leak.per_test import LeakCheck, LeaksLeft, _doors
from backstay.leak.per_test._remains import patience
from backstay.tasks import current_scope, go, live_tasks
from backstay.testing import run_virtual

kept: list[asyncio.Task[Any]] = []


@pytest.fixture(autouse=True)
def _let_go() -> Any:
    yield
    kept.clear()


def keep(coroutine: Coroutine[Any, Any, Any]) -> None:
    kept.append(asyncio.get_running_loop().create_task(coroutine))


async def blocked() -> None:
    await asyncio.Event().wait()


async def leaves(*coroutines: Coroutine[Any, Any, Any]) -> None:
    for one in coroutines:
        keep(one)
    await asyncio.sleep(0)


def found_by(check: LeakCheck, main: Any, *args: Any) -> tuple[Any, ...]:
    with pytest.raises(LeaksLeft) as caught, check:
        run_virtual(main, *args)
    return caught.value.left


def test_clean_code_is_left_alone() -> None:
    """Whoever ends what it starts hears nothing, also when an end takes a moment."""

    async def main() -> None:
        await leaves(asyncio.sleep(0.1), asyncio.sleep(0))

    with LeakCheck("clean") as check:
        run_virtual(main)
    assert check.left == []


def test_a_leak_names_line_owner_wait_and_cure() -> None:
    """What is left is said with the line that starts it, whose it is, what it waits for and what to do."""
    (one,) = found_by(LeakCheck("of a sleeper"), leaves, asyncio.sleep(3600))
    assert one.verdict == "ORPHAN"
    assert one.function == "keep"
    assert one.site.startswith("tests/unit/leak/per_test/test_check.py:")
    assert one.owner == "test of a sleeper"
    assert one.blocked_on.startswith("sleep at ")
    assert one.age == pytest.approx(0.43, abs=0.01)
    assert "Await it, or cancel it" in one.advice
    assert one.to_json()["chain"] == list(one.chain)
    assert one.place == "tests/unit/leak/per_test/test_check.py:keep"


def test_patience_is_that_of_goleak() -> None:
    """Twenty looks, doubling from a microsecond, the longest 0.1 s, less than half a second in all."""
    waits = list(patience())
    assert waits[:3] == [1e-6, 2e-6, 4e-6]
    assert max(waits) == 0.1
    assert len(waits) == 20
    assert 0.4 < sum(waits) < 0.5


def test_what_is_proved_is_told_without_waiting() -> None:
    """Nothing can wake it: no time passes before it is told."""
    (one,) = found_by(LeakCheck("stuck"), leaves, blocked())
    assert (one.verdict, one.age) == ("STUCK", 0.0)
    assert one.held_by is not None
    assert one.advice.startswith(
        "Nothing alive can wake it: see to it that the event is always set"
    )


def test_whoever_was_asked_to_end_is_undead() -> None:
    """A cancel was asked for, and the task lives on."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(50)

    async def main() -> None:
        await leaves(stubborn())
        kept[0].cancel()

    (one,) = found_by(LeakCheck("undead"), main)
    assert one.verdict == "UNDEAD"
    assert "asked to end by task" in one.advice


def test_whoever_was_collected_while_pending_is_lost() -> None:
    """Nobody kept it, and the collector took it: that is told too, without any wait."""

    async def main() -> None:
        asyncio.get_running_loop().create_task(blocked())
        await asyncio.sleep(0)
        gc.collect()

    (one,) = found_by(LeakCheck("lost"), main)
    assert (one.verdict, one.coroutine) == ("LOST", "blocked")


async def test_blocks_that_overlap_are_told_apart() -> None:
    """In one loop at one time: each block is told of its own tasks, and only of these."""

    async def block(name: str, leaky: bool) -> None:
        async with LeakCheck(name):
            await asyncio.sleep(0.01)
            if leaky:
                keep(asyncio.sleep(3600))
            await asyncio.sleep(0.01)

    said = await asyncio.gather(
        *(block(name, name in "bd") for name in "abcd"), return_exceptions=True
    )
    assert [type(one).__name__ for one in said] == [
        "NoneType",
        "LeaksLeft",
        "NoneType",
        "LeaksLeft",
    ]
    assert [one.left[0].owner for one in said if isinstance(one, LeaksLeft)] == ["test b", "test d"]


async def test_inside_a_loop_tasks_of_others_do_not_count() -> None:
    """What ran before, and what somebody else starts meanwhile, is nobody's of the block."""
    keep(asyncio.sleep(3600))
    async with LeakCheck("block") as check:
        await asyncio.sleep(0.01)
    assert check.left == []


async def test_what_is_proved_inside_a_loop_is_told_at_once() -> None:
    """The same within a running loop: no time passes."""
    before = asyncio.get_running_loop().time()
    with pytest.raises(LeaksLeft) as caught:
        async with LeakCheck("stuck"):
            await leaves(blocked())
    assert caught.value.left[0].verdict == "STUCK"
    assert asyncio.get_running_loop().time() == before


async def test_the_loop_is_left_as_it_was_found() -> None:
    """After the last of overlapping blocks the factory of before is back, and the doors too."""
    loop = asyncio.get_running_loop()
    factory, run = loop.get_task_factory(), asyncio.Runner.run
    async with LeakCheck("outer"):
        async with LeakCheck("inner"):
            pass
        assert loop.get_task_factory() is not factory
    assert loop.get_task_factory() is factory
    assert asyncio.Runner.run is run
    assert loop not in _doors.loops


def test_an_error_stays_itself() -> None:
    """A block that fails keeps its error; the report is a note on it."""
    with pytest.raises(ZeroDivisionError) as caught, LeakCheck("fails"):
        run_virtual(leaves, blocked())
        raise ZeroDivisionError
    assert "1 task outlived test fails, too" in caught.value.__notes__[0]


async def test_a_cancelled_block_does_not_wait() -> None:
    """Whoever is cancelled leaves at once, without a judgement."""

    async def block() -> None:
        async with LeakCheck("cancelled"):
            await leaves(asyncio.sleep(3600))
            await asyncio.sleep(3600)

    task = asyncio.get_running_loop().create_task(block())
    await asyncio.sleep(1)
    task.cancel()
    before = asyncio.get_running_loop().time()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() == before


def test_the_code_under_test_sees_no_owner() -> None:
    """A test is no scope: `go` finds none, and a scope of the test's own is named beside it."""

    async def main() -> None:
        assert current_scope() is None
        with pytest.raises(NoOwner):
            go(blocked)
        async with Scope("inner") as scope:
            keep(blocked())
        assert scope.raw_spawned == 1

    (one,) = found_by(LeakCheck("outer"), main)
    assert one.owner == "test outer, scope inner"


def test_expected_tasks_are_left_out() -> None:
    """Patterns of the check and declarations of the program are heard; forever() is no excuse for an orphan."""
    with LeakCheck("allowed", allow="blocked"):
        run_virtual(leaves, blocked())
    with leak.expect(function="blocked", why="for this test"), LeakCheck("expected"):
        run_virtual(leaves, blocked())
    (one,) = found_by(LeakCheck("deliberate"), leaves, forever())
    assert one.verdict == "ORPHAN"


def test_tasks_from_other_threads_count_by_their_loop() -> None:
    """A loop that a thread of the test runs is the test's, though threads inherit no context."""

    def serve() -> None:
        run_virtual(leaves, blocked())

    def start() -> None:
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()

    with pytest.raises(LeaksLeft) as caught, LeakCheck("threads"):
        start()
    assert [one.verdict for one in caught.value.left] == ["STUCK"]


def test_a_loop_closed_by_hand_is_looked_at() -> None:
    """Who closes a loop without a runner leaves its tasks pending for ever."""
    loop = None
    with pytest.raises(LeaksLeft) as caught, LeakCheck("by hand"):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leaves(blocked()))
        assert len(live_tasks(loop)) == 1
        loop.close()
    assert [one.verdict for one in caught.value.left] == ["ORPHAN"]


def test_misuse_is_said() -> None:
    """Words that nobody knows, a second use, and the wrong kind of `with` are refused."""
    with pytest.raises(ValueError, match="also= knows timers, threads, generators, not sockets"):
        LeakCheck("x", also="sockets")
    with pytest.raises(ValueError, match="would fit every leak"):
        LeakCheck("x", allow="*")
    check = LeakCheck("once")
    with check:
        pass
    with pytest.raises(UsageError, match="make a new LeakCheck"):
        check.begin()

    async def main() -> None:
        with LeakCheck("x"):
            pass

    with pytest.raises(UsageError, match="async with LeakCheck"):
        run_virtual(main)


def test_a_program_that_exits_is_not_run_on() -> None:
    """Who exits amid its tasks is taken down as ever: clean-up runs once, and the exit is its own."""
    ended: list[str] = []

    async def stranger() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.01)
            ended.append("stranger")

    async def main() -> None:
        await leaves(stranger())
        raise SystemExit(3)

    with pytest.raises(SystemExit), LeakCheck("exits"):
        run_virtual(main)
    assert ended == ["stranger"]


async def test_messages_of_a_loop_go_their_way() -> None:
    """What is no task that was lost is handed on untouched."""
    heard: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context["task"]))
    async with LeakCheck("hears"):
        loop.call_exception_handler(
            {"message": "Task was destroyed but it is pending!", "task": "none"}
        )
        loop.call_exception_handler({"message": "other", "task": "other"})
    assert heard == ["none", "other"]
