"""`Scope` under thousands of schedules, with cancellations: every way out, and every place in line.

What must hold whatever strikes: nothing started inside is alive after the block;
a cancel from outside is never lost and never invented; a place is never given
twice, never lost, and goes to whoever came first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import backstay
from backstay import Scope
from backstay.errors import DeadlineExceeded, FullError, ScopeClosed

FULL = 20_000
QUICK = 300


class Broken(Exception):
    """What a failing child or body raises."""


class Watch:
    """Counts who is alive, and what each received."""

    def __init__(self) -> None:
        self.alive = 0
        self.most = 0
        self.started: list[int] = []
        self.left_with: list[int] = []  # how many were alive whenever a block was left

    async def child(self, number: int, turns: int = 2, *, fails: bool = False) -> None:
        """Live for some turns, clean up for one more, and fail if told to."""
        self.started.append(number)
        self.alive += 1
        self.most = max(self.most, self.alive)
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            if fails:
                raise Broken
        finally:
            try:
                await asyncio.sleep(0)  # clean-up that takes a turn
            finally:
                self.alive -= 1

    async def sleeper(self, seconds: float) -> None:
        """Live until a time at which something else is due as well; "inf" is for ever."""
        self.alive += 1
        try:
            if seconds == float("inf"):
                await asyncio.Event().wait()
            await asyncio.sleep(seconds)
        finally:
            self.alive -= 1

    def left(self) -> None:
        """Note that a block was left."""
        self.left_with.append(self.alive)


def judge(host: asyncio.Task[Any], watch: Watch, *expected: type[BaseException]) -> None:
    """Check that the host ended as its own account says."""
    # Cancelled before its first step, a host has nothing to answer for.
    assert watch.left_with or host.cancelled(), "the host never came to its end"
    assert watch.alive == 0
    assert set(watch.left_with) <= {0}, "children outlive their block"
    if host.cancelling():
        assert host.cancelled(), "a cancel from outside was lost"
    else:
        assert not host.cancelled(), "a cancel was invented"
        error = host.exception()
        assert error is None or isinstance(error, expected), repr(error)


async def check(
    body: Callable[[], Awaitable[None]], watch: Watch, *expected: type[BaseException]
) -> None:
    """Run `body` in a task that may be cancelled, and judge how it ends."""

    async def host() -> None:
        try:
            await body()
        finally:
            watch.left()
            # Two awaits after the block are where a stray cancel would strike.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    task = asyncio.create_task(host(), name="host")
    await asyncio.wait([task])
    judge(task, watch, *expected)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_block_that_ends_by_itself() -> None:
    """Children of several lengths, a grandchild started late, and whoever is cancelled."""
    watch = Watch()

    async def body() -> None:
        async with Scope("s") as scope:
            scope.go(watch.child, 1, 1)
            scope.go(watch.child, 2, 3)

            async def parent() -> None:
                await asyncio.sleep(0)
                try:
                    scope.go(watch.child, 3, 2)
                except ScopeClosed:
                    pass  # the block was cut short meanwhile

            scope.go(parent)
            await asyncio.sleep(0)

    await check(body, watch)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_block_cancelled_at_every_await() -> None:
    """Each wait of host and children, while waiting and when woken."""
    watch = Watch()

    async def body() -> None:
        async with Scope("outer") as outer:
            outer.go(watch.child, 1, 2)
            async with Scope("inner") as inner:
                inner.go(watch.child, 2, 1)
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    await check(body, watch)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_child_fails_while_others_end() -> None:
    """The error leaves as a group, alone or with a cancel that strikes at the next await."""
    watch = Watch()

    async def body() -> None:
        async with Scope("s") as scope:
            scope.go(watch.child, 1, 1, fails=True)
            scope.go(watch.child, 2, 2, fails=True)
            scope.go(watch.child, 3, 4)
            await asyncio.sleep(0)

    await check(body, watch, ExceptionGroup)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_errors_are_collected() -> None:
    """With on_error="collect" nobody is cancelled for another's error."""
    watch = Watch()

    async def body() -> None:
        async with Scope("s", on_error="collect") as scope:
            scope.go(watch.child, 1, 1, fails=True)
            scope.go(watch.child, 2, 3)

    await check(body, watch, ExceptionGroup)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_the_body_fails_or_cancels_the_scope() -> None:
    """An error of the body leaves as itself; `cancel` leaves no error at all."""
    watch = Watch()

    async def fails() -> None:
        async with Scope("s") as scope:
            scope.go(watch.child, 1, 3)
            await asyncio.sleep(0)
            raise Broken

    await check(fails, watch, Broken)

    async def cancels() -> None:
        async with Scope("s") as scope:
            scope.go(watch.child, 1, 3)

            async def cutter() -> None:
                await asyncio.sleep(0)
                scope.cancel("enough")

            scope.go(cutter)
            await asyncio.sleep(0)

    watch = Watch()
    await check(cancels, watch)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_children_that_only_a_cancel_can_end() -> None:
    """The body fails, the children would wait for ever: the cut reaches each of them."""
    watch = Watch()

    async def body() -> None:
        async with Scope("s") as scope:
            scope.go(watch.sleeper, float("inf"))
            async with Scope("inner") as inner:
                inner.go(watch.sleeper, float("inf"))
                await asyncio.sleep(0)
                raise Broken

    await check(body, watch, Broken)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_the_body_cuts_its_own_scope_at_its_last_step() -> None:
    """The cancel that it ordered for itself never strikes after the block."""
    watch = Watch()

    async def body() -> None:
        async with Scope("s") as scope:
            await asyncio.sleep(0)
            scope.cancel("enough")
        await asyncio.sleep(0)
        async with Scope("s") as scope:
            scope.go(watch.child, 1, 1)
            await asyncio.sleep(0)
            scope.cancel("enough")

    await check(body, watch)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_the_deadline_and_the_end_at_once() -> None:
    """Children, body and deadline are all due at the same moment."""
    watch = Watch()

    async def body() -> None:
        async with Scope("s", timeout=1) as scope:
            scope.go(watch.sleeper, 1)
            scope.go(watch.sleeper, 2)
            await asyncio.sleep(1)

    await check(body, watch, DeadlineExceeded)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_deadlines_of_nested_blocks_at_any_moment() -> None:
    """A deadline may pass between any two steps; `timeout` inside, scopes outside."""
    watch = Watch()

    async def body() -> None:
        async with Scope("outer", timeout=3) as outer:
            outer.go(watch.child, 1, 2)
            async with Scope("inner", timeout=2) as inner:
                inner.go(watch.child, 2, 2)
                async with backstay.timeout(1):
                    await asyncio.sleep(0)
            await asyncio.sleep(0)

    await check(body, watch, DeadlineExceeded)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_on_exit_cancel() -> None:
    """A block that cancels its children at its end is left quietly."""
    watch = Watch()

    async def body() -> None:
        async with Scope("s", on_exit="cancel") as scope:
            scope.go(watch.child, 1, 9)
            scope.go(watch.sleeper, 50)
            await asyncio.sleep(0)

    await check(body, watch)


class Line:
    """Callers of `go_wait` on one scope, and what became of each."""

    def __init__(self, limit: int) -> None:
        self.watch = Watch()
        self.limit = limit
        self.asked: list[int] = []
        self.refused: list[int] = []

    async def caller(self, scope: Scope, number: int) -> None:
        """Ask for a place."""
        self.asked.append(number)
        try:
            await scope.go_wait(self.watch.child, number, 1)
        except ScopeClosed:
            self.refused.append(number)

    def check(self, scope: Scope) -> None:
        """Nothing was given twice, nothing was lost."""
        assert self.watch.most <= self.limit, "more than max_tasks at once"
        assert self.watch.alive == 0
        assert scope._places._reserved == 0, "a place is reserved for nobody"
        assert scope._places.waiting == 0, "somebody waits in line for ever"
        assert len(set(self.watch.started)) == len(self.watch.started)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_places_in_line() -> None:
    """More callers than places: all are served, in order of arrival, whoever is cancelled."""
    line = Line(2)
    async with Scope("s", max_tasks=2) as scope:
        callers = [asyncio.create_task(line.caller(scope, n), name=f"caller-{n}") for n in range(5)]
        await asyncio.wait(callers)
    line.check(scope)
    assert not line.refused
    served = [n for n, caller in zip(range(5), callers, strict=True) if not caller.cancelled()]
    never_ran = {n for n in served if n not in line.watch.started}
    # A child may be cancelled before its first step; nobody else is left out.
    assert len(never_ran) <= 2


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_places_when_callers_are_cancelled_everywhere() -> None:
    """A caller that was promised a place and is cancelled passes it on."""
    line = Line(1)
    async with Scope("s", max_tasks=1) as scope:
        callers = [asyncio.create_task(line.caller(scope, n), name=f"caller-{n}") for n in range(3)]
        await asyncio.wait(callers)
    line.check(scope)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_places_while_the_scope_is_cut_short() -> None:
    """Those in line are sent away when the scope is cancelled, fails or passes its deadline."""
    line = Line(1)

    async def cutter(scope: Scope) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        scope.cancel("enough")

    async with Scope("s", max_tasks=1) as scope:
        callers = [asyncio.create_task(line.caller(scope, n), name=f"caller-{n}") for n in range(3)]
        callers.append(asyncio.create_task(cutter(scope), name="cutter"))
        try:
            await asyncio.wait(callers)
        except asyncio.CancelledError:
            await asyncio.wait(callers)
            raise
    line.check(scope)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_go_never_takes_a_promised_place() -> None:
    """A `go` that comes by finds the scope full while somebody is being served."""
    line = Line(1)
    refused = 0

    async def pushy(scope: Scope) -> None:
        nonlocal refused
        for number in range(10, 14):
            try:
                scope.go(line.watch.child, number, 1)
            except FullError:
                refused += 1
            await asyncio.sleep(0)

    async with Scope("s", max_tasks=1) as scope:
        callers = [asyncio.create_task(line.caller(scope, n), name=f"caller-{n}") for n in range(2)]
        callers.append(asyncio.create_task(pushy(scope), name="pushy"))
        await asyncio.wait(callers)
    line.check(scope)
