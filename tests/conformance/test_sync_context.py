"""Go's cases for `context`, on `Scope`, `timeout` and `Key`.

Ported as cases, not as code, from `src/context/context_test.go` and
`x_test.go` of Go 1.19 (BSD-3); each docstring names its origin. A context that is
cancelled is here a scope that cancels what runs in it; a value is a `Key`.
"""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

import backstay
from backstay import Key, Scope, bind, deadline_at, now, remaining
from backstay.errors import DeadlineExceeded

from .loops import on_each_loop, turns

NAME: Key[str] = Key("name", default="nobody")
NUMBER: Key[int] = Key("number", default=0)
SHORT = 0.005  # seconds; these cases are about order and not about time


@on_each_loop
async def test_background_has_nothing() -> None:
    """TestBackground: outside of everything there is no deadline, no owner and no value."""
    assert backstay.current_scope() is None
    assert remaining() is None
    assert NAME.get() == "nobody"


@on_each_loop
async def test_with_cancel() -> None:
    """TestWithCancel: cancelling ends the scope and all below it, once, and says why."""
    ended: list[str] = []

    async def inner() -> None:
        try:
            async with Scope("inner"):
                await asyncio.sleep(10)
        finally:
            ended.append("inner")

    async with Scope("outer") as outer:
        outer.go(inner)
        await turns()
        outer.cancel("enough")
        outer.cancel("again")
    assert ended == ["inner"]
    assert str(outer.cause) == "enough"


@on_each_loop
async def test_parent_finishes_child() -> None:
    """TestParentFinishesChild: the end of a parent ends children, timers and values below it."""
    scopes: list[Scope] = []

    async def child(seconds: float) -> None:
        async with Scope("child", timeout=seconds) as scope:
            scopes.append(scope)
            with bind(NAME, "child"):
                await asyncio.sleep(10)

    async with Scope("parent", on_exit="cancel") as parent:
        for seconds in (5.0, 50.0):
            parent.go(child, seconds)
        await turns()
        assert all(scope.parent is parent for scope in scopes)
    assert [scope.state for scope in scopes] == ["ended", "ended"]
    assert not parent.tasks


@on_each_loop
async def test_child_finishes_first() -> None:
    """TestChildFinishesFirst: a child that ends leaves its parent, and siblings, alone."""
    async with Scope("parent") as parent:
        async with Scope("child") as child:
            child.cancel("enough")
            await asyncio.sleep(0)
        assert child.state == "ended"
        assert child.cause is not None
        assert parent.state == "open"
        assert parent.cause is None
        await asyncio.sleep(0)


@on_each_loop
async def test_deadline() -> None:
    """TestDeadline: it strikes, as itself, below other things, and also when it is long past."""
    with pytest.raises(DeadlineExceeded):
        async with deadline_at(now() + SHORT):
            await asyncio.sleep(10)
    with pytest.raises(DeadlineExceeded):
        async with deadline_at(now() + SHORT), Scope("inside"):
            await asyncio.sleep(10)
    with pytest.raises(DeadlineExceeded):
        async with deadline_at(now() - 100):
            await asyncio.sleep(10)


@on_each_loop
async def test_the_earliest_deadline_wins() -> None:
    """TestDeadline: a later one inside an earlier one changes nothing, and the error names the setter."""
    with pytest.raises(DeadlineExceeded, match="outer"):
        async with Scope("outer", timeout=SHORT), Scope("inner", timeout=50):
            await asyncio.sleep(10)


@on_each_loop
async def test_timeout() -> None:
    """TestTimeout: as a deadline, counted from now."""
    with pytest.raises(DeadlineExceeded):
        async with backstay.timeout(SHORT):
            left = remaining()
            assert left is not None
            assert left <= SHORT
            await asyncio.sleep(10)
    assert remaining() is None


@on_each_loop
async def test_cancelled_timeout() -> None:
    """TestCanceledTimeout: cancelled before its time, it ends for that reason and at once."""
    before = now()
    async with Scope("s", timeout=50.0) as scope:
        scope.go(asyncio.sleep, 10)
        await turns()
        scope.cancel("enough")
    assert str(scope.cause) == "enough"
    assert now() - before < 10


@on_each_loop
async def test_values() -> None:
    """TestValues: inner ones hide outer ones, other keys shine through, and the end takes them back."""
    with bind(NAME, "a"):
        with bind(NUMBER, 1):
            assert (NAME.get(), NUMBER.get()) == ("a", 1)
            with bind(NAME, "b"):
                assert (NAME.get(), NUMBER.get()) == ("b", 1)
            assert (NAME.get(), NUMBER.get()) == ("a", 1)
        assert NUMBER.get() == 0

        async def child() -> str:
            return NAME.get()

        async with Scope("s", timeout=50) as scope:
            task = scope.go(child)
        assert task.result() == "a"
    assert NAME.get() == "nobody"


@on_each_loop
async def test_simultaneous_cancels() -> None:
    """TestSimultaneousCancels: a hundred nested scopes cancelled in random order all end."""
    dice = random.Random(1)
    scopes: list[Scope] = []

    async def nest(depth: int) -> None:
        async with Scope(f"s{depth}") as scope:
            scopes.append(scope)
            if depth:
                scope.go(nest, depth - 1)
            await asyncio.sleep(10)

    async with Scope("root") as root:
        root.go(nest, 100)
        while len(scopes) < 101:
            await asyncio.sleep(0)
        for scope in dice.sample(scopes, len(scopes)):
            scope.cancel("now")
    assert all(scope.state == "ended" for scope in scopes)


@on_each_loop
async def test_interlocked_cancels() -> None:
    """TestInterlockedCancels: the end of a parent that cancels a child that cancels the parent."""
    async with Scope("parent") as parent:

        async def child() -> None:
            async with Scope("child") as scope:
                try:
                    await asyncio.sleep(10)
                finally:
                    scope.cancel("down")
                    parent.cancel("up")

        parent.go(child)
        await turns()
        parent.cancel("first")
    assert str(parent.cause) == "first"


@pytest.mark.parametrize("seed", range(5))
@on_each_loop
async def test_layers(seed: int) -> None:
    """TestLayersCancel, TestLayersTimeout: random towers of values, cancels and timeouts end together."""
    dice = random.Random(seed)
    timed = seed % 2 == 0
    scopes: list[Scope] = []

    async def layer(depth: int, value: int) -> None:
        assert NUMBER.get() == value
        if not depth:
            await asyncio.sleep(10)
            return
        kind = dice.choice(["value", "cancel", "timeout"])
        if kind == "value":
            with bind(NUMBER, depth):
                await layer(depth - 1, depth)
        elif kind == "cancel":
            async with Scope(f"s{depth}") as scope:
                scopes.append(scope)
                scope.go(layer, depth - 1, value)
        else:
            async with backstay.timeout(50):
                await layer(depth - 1, value)

    async def tower() -> None:
        async with Scope("root", timeout=SHORT if timed else None) as root:
            root.go(layer, 40, 0)
            await turns(60)
            if timed:
                await asyncio.sleep(10)
            root.cancel("enough")

    if timed:
        # Each layer is a child of the one above, so the one reason arrives in groups of groups.
        with pytest.raises((DeadlineExceeded, ExceptionGroup)) as caught:
            await tower()
        assert {str(error) for error in leaves(caught.value)} == {
            f"scope 'root' ran past its timeout of {SHORT:g} s"
        }
    else:
        await tower()
    assert all(scope.state == "ended" for scope in scopes)


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors at the ends of a tree of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


@on_each_loop
async def test_cancel_removes() -> None:
    """TestCancelRemoves: what has ended leaves no child and no timer with its parent."""
    async with Scope("parent", timeout=50) as parent:
        for _ in range(3):
            async with Scope("child", timeout=40):
                pass
            async with backstay.timeout(30):
                pass
            assert not parent.tasks
    gc.collect()
    timers = [
        t for t in gc.get_objects() if type(t).__name__ == "TimerHandle" and not t.cancelled()
    ]
    assert not [t for t in timers if "backstay" in repr(t) and t.when() < now() + 60]


@on_each_loop
async def test_with_cancel_in_a_cancelled_parent() -> None:
    """TestWithCancelCanceledParent: work begun below a cancelled parent ends at its first wait."""
    reached: list[str] = []

    async def late() -> None:
        async with Scope("late"):
            reached.append("entered")
            await asyncio.sleep(10)
            reached.append("never")

    async with Scope("parent") as parent:

        async def child() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                parent_task = asyncio.current_task()
                assert parent_task is not None
                assert parent_task.cancelling()

        parent.go(child)
        await turns()
        parent.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await late()
        raise asyncio.CancelledError  # as `late` would have let it go on
    assert reached == ["entered"]


@on_each_loop
async def test_a_detached_scope_keeps_values_and_drops_the_deadline() -> None:
    """TestWithoutCancel (Go 1.21): work that outlives its caller on purpose."""
    with bind(NAME, "a"):
        async with Scope("parent", timeout=50), Scope("detached", detached=True) as scope:
            assert scope.deadline is None
            assert remaining() is None
            assert NAME.get() == "a"


@on_each_loop
async def test_cause() -> None:
    """TestCause (Go 1.20): the first cause stays, and is told by who looks."""
    async with Scope("outer") as outer, Scope("inner") as inner:
        inner.cancel("inner first")
        outer.cancel("outer later")
        await asyncio.sleep(0)
    assert str(inner.cause) == "inner first"
    assert str(outer.cause) == "outer later"


@on_each_loop
async def test_a_value_needs_a_key() -> None:
    """TestWithValueChecksKey: what is not a key is refused; two keys of one name are two."""
    with pytest.raises(TypeError, match="takes a Key, not 'tenant'"), bind("tenant", 1):  # type: ignore[arg-type]
        pytest.fail("it was bound")
    twin: Key[str] = Key("name")
    with bind(NAME, "a"), bind(twin, "b"):
        assert (NAME.get(), twin.get()) == ("a", "b")


@on_each_loop
async def test_a_deadline_that_struck_is_a_time_out() -> None:
    """TestDeadlineExceededSupportsTimeout: code that knows time-outs only understands it."""
    with pytest.raises(TimeoutError) as caught:
        async with backstay.timeout(SHORT):
            await asyncio.sleep(10)
    assert isinstance(caught.value, DeadlineExceeded)


@on_each_loop
async def test_blocks_of_others_in_between_cost_no_task() -> None:
    """XTestCustomContextGoroutines: the end passes through asyncio's own blocks, and nobody watches for it."""
    ended: list[str] = []

    async def inner() -> None:
        try:
            async with asyncio.timeout(50), asyncio.TaskGroup() as group:
                before = len(asyncio.all_tasks())
                async with Scope("inner"):
                    assert len(asyncio.all_tasks()) == before
                    group.create_task(asyncio.sleep(10))
                    await asyncio.sleep(10)
        finally:
            ended.append("inner")

    async with Scope("outer") as outer:
        outer.go(inner)
        await turns()
        outer.cancel("enough")
    assert ended == ["inner"]
    assert str(outer.cause) == "enough"
