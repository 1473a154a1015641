"""Blocks of ours and of others nested in each other, struck in every order and in ties.

No model says what should happen here; the promises alone are checked. A small
program is a chain of blocks, each inside the one before, in the same task or in
a child: scopes, `timeout()`, `asyncio.timeout`, anyio's cancel scope, `TaskGroup`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import anyio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backstay import Scope, current_scope, now, remaining, timeout
from backstay.testing import run_virtual

Kind = Literal["scope", "timeout", "asyncio", "anyio", "group"]

LONGEST_CLEANUP = 3


class ChildError(Exception):
    """What a failing child raises."""


class BodyError(Exception):
    """What a failing body raises."""


@dataclass(frozen=True)
class Child:
    lasts: int
    fails: bool
    cleans_up: int
    cleanup_fails: bool = False


@dataclass(frozen=True)
class Block:
    kind: Kind
    limit: int | None = None  # seconds
    children: tuple[Child, ...] = ()
    before: int = 0  # seconds of the body before the inner block …
    after: int = 0  # … and after it
    ending: Literal["returns", "raises", "cancels"] = "returns"
    catches: bool = False  # whether errors of the inner block end at this one
    as_child: bool = False  # whether it runs in a child of the block around it, if that is a scope


@dataclass(frozen=True)
class Plan:
    blocks: tuple[Block, ...]
    strikes: tuple[int, ...] = ()  # when somebody cancels the host
    eager: bool = False


@dataclass
class Seen:
    time_moves: bool  # not while anyio cancels a task again in each turn of the loop
    outcome: BaseException | None = None
    strikes: int = 0  # how many came before the host's blocks were left
    over: bool = False
    stray: bool = False
    count: int = 0
    timers: int = 0
    most_cancels: int = 0
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    late: list[str] = field(default_factory=list)


async def leaf(spec: Child, seen: Seen) -> None:
    """Sleep, clean up when cancelled, and count how often that was torn."""
    received = 0
    try:
        await asyncio.sleep(spec.lasts)
    except asyncio.CancelledError:
        received += 1
        ends = now() + (spec.cleans_up if seen.time_moves else 0)
        while now() < ends:
            try:
                await asyncio.sleep(ends - now())
            except asyncio.CancelledError:
                received += 1
        seen.most_cancels = max(seen.most_cancels, received)
        if spec.cleanup_fails:
            raise ChildError from None
        raise
    if spec.fails:
        raise ChildError


@asynccontextmanager
async def anyio_block(seconds: float):
    with anyio.move_on_after(seconds):
        yield None


def opened(block: Block, seen: Seen) -> AbstractAsyncContextManager[Any]:
    far = 1000 if block.limit is None else block.limit
    if block.kind == "scope":
        seen.scopes.append(Scope("s", timeout=block.limit))
        return seen.scopes[-1]
    if block.kind == "timeout":
        return timeout(far)
    if block.kind == "asyncio":
        return asyncio.timeout(far)
    if block.kind == "anyio":
        return anyio_block(far)
    return asyncio.TaskGroup()


async def run_block(blocks: tuple[Block, ...], seen: Seen) -> None:
    """Run the first block, with the others inside it."""
    block, inner = blocks[0], blocks[1:]
    began = now()
    try:
        async with opened(block, seen) as owner:
            if block.kind in ("scope", "group"):
                start = owner.go if block.kind == "scope" else owner.create_task
                for spec in block.children:
                    if block.kind == "group":
                        # With a failing child it leaves its own cancel on the account (3.11).
                        spec = replace(spec, fails=False, cleanup_fails=False)
                    args = (leaf, spec, seen) if block.kind == "scope" else (leaf(spec, seen),)
                    seen.tasks.append(start(*args))
            if block.before:
                await asyncio.sleep(block.before)
            if inner:
                await run_inner(block, owner, inner, seen)
            if block.after:
                await asyncio.sleep(block.after)
            if block.ending == "raises":
                raise BodyError
            if block.ending == "cancels" and block.kind == "scope":
                owner.cancel("enough")
    finally:
        # Each block inside may need one clean-up, one after another.
        latest = began + (block.limit or 0) + LONGEST_CLEANUP * len(blocks)
        if block.limit is not None and block.kind != "group" and now() > latest:
            seen.late.append(f"{block.kind} left at {now()}, entered at {began}")


async def run_inner(block: Block, owner: Any, inner: tuple[Block, ...], seen: Seen) -> None:
    try:
        if inner[0].as_child and block.kind == "scope":
            task = owner.go(run_block, inner, seen)
            seen.tasks.append(task)
            await task
        else:
            await run_block(inner, seen)
    except Exception:
        if not block.catches:
            raise


def perform(plan: Plan) -> Seen:
    seen = Seen(time_moves=all(block.kind != "anyio" for block in plan.blocks))

    async def host() -> None:
        try:
            await run_block(plan.blocks, seen)
        except BaseException as error:
            seen.outcome = error
        seen.over = True
        assert current_scope() is None
        assert remaining() is None
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.stray = True
        me = asyncio.current_task()
        assert me is not None
        seen.count = me.cancelling()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if plan.eager and sys.version_info >= (3, 12):
            loop.set_task_factory(asyncio.eager_task_factory)
        task = loop.create_task(host())

        def strike() -> None:
            if not seen.over:
                seen.strikes += 1
                task.cancel()

        ours = [loop.call_later(at, strike) for at in plan.strikes]
        await asyncio.wait([task])
        for timer in ours:
            timer.cancel()
        if task.exception() is not None:
            raise task.exception()  # type: ignore[misc]
        seen.timers = sum(not timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]

    run_virtual(main, track=not plan.eager)
    return seen


def check_promises(plan: Plan, seen: Seen) -> None:
    assert all(task.done() for task in seen.tasks), "a child outlived its block"
    assert all(scope.state in ("new", "ended") for scope in seen.scopes)
    assert seen.most_cancels <= 1, "a child was cancelled twice, which tears its clean-up"
    assert seen.timers == 0, "a timer was left behind"
    assert seen.late == [], "a deadline was not kept"
    assert seen.count == seen.strikes, "the account of cancels is not balanced"
    cancelled = isinstance(seen.outcome, asyncio.CancelledError)
    if not seen.strikes:
        assert not cancelled, "the cancel of a block leaked out of it"
        assert not seen.stray, "the cancel of a block struck after it"
    elif not any(block.kind == "group" for block in plan.blocks):
        # A TaskGroup forgets to deliver a cancel when errors leave in its place.
        assert cancelled or seen.stray, "an outer cancel was lost"
        if seen.strikes == 1:
            assert not (cancelled and seen.stray), "one cancel was delivered twice"


children = st.builds(
    Child,
    lasts=st.integers(0, 8),
    fails=st.booleans(),
    cleans_up=st.integers(0, LONGEST_CLEANUP),
    cleanup_fails=st.booleans(),
)
blocks = st.builds(
    Block,
    kind=st.sampled_from(["scope", "scope", "timeout", "asyncio", "anyio", "group"]),
    limit=st.none() | st.integers(0, 8),
    children=st.lists(children, max_size=2).map(tuple),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    ending=st.sampled_from(["returns", "raises", "cancels"]),
    catches=st.booleans(),
    as_child=st.booleans(),
)
plans = st.builds(
    Plan,
    blocks=st.lists(blocks, min_size=1, max_size=4).map(tuple),
    strikes=st.lists(st.integers(0, 10), max_size=2).map(tuple),
    eager=st.booleans() if sys.version_info >= (3, 12) else st.just(False),
)


@given(plans)
@settings(max_examples=1000, deadline=None)
@example(
    # The strike reaches the child that the body awaits, and comes back as the child's error.
    Plan(
        (
            Block("scope", limit=0),
            Block("scope", children=(Child(0, False, 1), Child(0, False, 0, True)), as_child=True),
        ),
        strikes=(1,),
    )
)
def test_promises_hold_among_nested_blocks(plan: Plan) -> None:
    """No cancel is lost or leaked, no child or timer left, every deadline kept, whatever is nested in what."""
    check_promises(plan, perform(plan))
