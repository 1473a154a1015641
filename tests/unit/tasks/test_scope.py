"""What `Scope` promises beyond the model of tests/property: API, limits, ambient state."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator

import pytest

import backstay
from backstay import Scope, go, now, timeout
from backstay._base import DeadlineHit, ScopeEnded, deadline_hit, scope_ended
from backstay.context import TRACE, Key, bind, remaining
from backstay.errors import (
    Cancelled,
    DeadlineExceeded,
    FullError,
    NoOwner,
    ScopeClosed,
    ScopeMisuse,
)
from backstay.tasks import adopt, info, owned_by


async def echo(value: object, after: float = 0.0) -> object:
    await asyncio.sleep(after)
    return value


async def fail(after: float = 0.0) -> None:
    await asyncio.sleep(after)
    raise KeyError("boom")


async def test_results_are_there_after_the_block() -> None:
    """Children are awaited by the block, and their results can be read after it."""
    async with Scope("s") as scope:
        first = scope.go(echo, 1, 2.0)
        second = go(echo, 2, after=1.0)
    assert (first.result(), second.result()) == (1, 2)
    assert now() == 2.0
    assert scope.state == "ended"
    assert scope.ended_at == 2.0


async def test_one_child_error_leaves_as_a_group_naming_the_scope() -> None:
    """A single child error still leaves as a group, so that callers need one except clause."""
    with pytest.raises(ExceptionGroup, match="scope 'pay': 1 error") as caught:
        async with Scope("pay") as scope:
            scope.go(fail)
    assert [type(e) for e in caught.value.exceptions] == [KeyError]


async def test_unwrap_lets_a_single_error_leave_as_itself() -> None:
    """With unwrap=True one child error is raised without a group."""
    with pytest.raises(KeyError):
        async with Scope("pay", unwrap=True) as scope:
            scope.go(fail)


async def test_an_error_of_the_body_leaves_as_itself() -> None:
    """The body is the caller's own code, so its error is not wrapped."""
    with pytest.raises(ValueError, match="mine"):
        async with Scope("s") as scope:
            scope.go(echo, 1, 100.0)
            raise ValueError("mine")
    assert now() == 0.0


async def test_an_awaited_child_error_is_reported_once() -> None:
    """Awaiting a failing child in the body does not list its error twice."""
    with pytest.raises(ExceptionGroup) as caught:
        async with Scope("s") as scope:
            await scope.go(fail)
    assert len(caught.value.exceptions) == 1


async def test_collect_lets_the_others_finish() -> None:
    """With on_error='collect' every child runs to its end and all errors leave together."""
    with pytest.raises(ExceptionGroup) as caught:
        async with Scope("s", on_error="collect") as scope:
            scope.go(fail, 1.0)
            scope.go(fail, 2.0)
            slow = scope.go(echo, "done", 3.0)
    assert len(caught.value.exceptions) == 2
    assert slow.result() == "done"


async def test_a_deadline_names_the_scope_that_set_it() -> None:
    """An inner scope cut by an outer deadline blames the outer one."""
    with pytest.raises(DeadlineExceeded) as caught:
        async with Scope("outer", timeout=1.0), Scope("inner", timeout=5.0) as inner:
            inner.go(echo, 1, 100.0)
            await asyncio.sleep(100)
    assert caught.value.scope == "outer"
    assert caught.value.timeout == 1.0
    assert now() == 1.0


async def test_a_child_task_inherits_the_deadline() -> None:
    """A scope opened in a child, with no timeout of its own, ends at its owner's deadline."""

    async def child() -> float | None:
        async with Scope("inner"):
            return remaining()

    async with Scope("outer", timeout=2.0) as scope:
        await asyncio.sleep(0.5)
        left = scope.go(child)
    assert left.result() == 1.5


async def test_an_inherited_deadline_is_enforced_in_a_task_nobody_cancels() -> None:
    """A scope inside a raw task ends at the inherited deadline although no owner cancels it."""
    seen: list[str] = []

    async def raw() -> None:
        try:
            async with Scope("inner"):
                await asyncio.sleep(100)
        except DeadlineExceeded as error:
            seen.append(error.scope)

    async with Scope("outer", timeout=2.0):
        task = asyncio.create_task(raw())
    await task
    assert seen == ["outer"]
    assert now() == 2.0


async def test_detached_drops_the_deadline_and_keeps_values() -> None:
    """Detached work has no ambient deadline but the same trace and values."""
    with bind(TRACE, "abc"):
        async with Scope("outer", timeout=1.0), Scope("background", detached=True) as scope:
            assert remaining() is None
            assert scope.trace_id == "abc"
            assert TRACE.get() == "abc"


async def test_cancel_is_absorbed_and_remembered() -> None:
    """cancel() ends the block quietly, and the cause says why."""
    async with Scope("s") as scope:
        scope.go(echo, 1, 100.0)
        scope.cancel("enough")
        await asyncio.sleep(50)
    assert isinstance(scope.cause, Cancelled)
    assert scope.cause.reason == "enough"
    assert now() == 0.0


async def test_cancel_by_a_child_ends_the_body() -> None:
    """Any task that holds the scope may cancel it, also a child of it."""

    async def stopper(scope: Scope) -> None:
        await asyncio.sleep(1)
        scope.cancel("found it")

    async with Scope("search") as scope:
        scope.go(stopper, scope)
        scope.go(echo, 1, 100.0)
        await asyncio.sleep(100)
    assert now() == 1.0


async def test_a_cancelled_future_awaited_in_the_body_is_not_absorbed() -> None:
    """A CancelledError that nobody ordered for this task goes on to the caller."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with Scope("s"):
            await future


async def test_go_without_a_scope_says_how_to_get_one() -> None:
    """go() where nobody would own the task is an error that teaches."""
    with pytest.raises(NoOwner, match="async with Scope"):
        go(echo, 1)


async def test_go_wants_the_function_and_not_the_call() -> None:
    """go(f(x)) in place of go(f, x) is refused, and the coroutine does not warn later."""
    async with Scope("s") as scope:
        with pytest.raises(TypeError, match=r"go\(echo, \.\.\.\)"):
            scope.go(echo(1))  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="returned int"):
            scope.go(lambda: 3)  # type: ignore[arg-type, return-value]


async def test_go_takes_any_awaitable() -> None:
    """A function that returns a future works as well as an async function."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(5)
    async with Scope("s") as scope:
        task = scope.go(lambda: future)
    assert task.result() == 5


async def test_a_full_scope_refuses_and_says_who() -> None:
    """At max_tasks go() rejects at once with the scope's name and the limit."""
    async with Scope("pool", max_tasks=2) as scope:
        scope.go(echo, 1, 1.0)
        scope.go(echo, 2, 1.0)
        with pytest.raises(FullError, match="max_tasks=2") as caught:
            scope.go(echo, 3)
    assert caught.value.policy == "pool"
    assert caught.value.reason == "full"


async def test_go_wait_gives_places_in_order_of_arrival() -> None:
    """Those who wait for a place get it first come, first served, and go() cannot barge in."""
    order: list[int] = []

    async def work(n: int) -> None:
        order.append(n)
        await asyncio.sleep(1)

    async with Scope("pool", max_tasks=1) as scope, Scope("callers") as callers:
        for n in range(4):
            callers.go(scope.go_wait, work, n)
        await asyncio.sleep(1)
        with pytest.raises(FullError):
            scope.go(work, 99)
    assert order == [0, 1, 2, 3]
    assert now() == 4.0


async def test_a_place_promised_to_a_cancelled_waiter_goes_to_the_next() -> None:
    """Cancelling a waiter in the very turn it got its place loses no place."""
    async with Scope("pool", max_tasks=1) as scope:
        scope.go(echo, 0, 1.0)
        first = asyncio.create_task(scope.go_wait(echo, 1, 1.0))
        second = asyncio.create_task(scope.go_wait(echo, 2, 1.0))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(
            1.0, lambda: asyncio.get_running_loop().call_soon(first.cancel)
        )
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert await second.result() == 2
    assert now() == 2.0


async def test_waiters_are_sent_away_when_the_scope_ends() -> None:
    """A waiter for a place in a scope that is cut short gets ScopeClosed, not a hang."""
    async with Scope("pool", max_tasks=1) as scope:
        scope.go(echo, 0, 100.0)
        waiter = asyncio.create_task(scope.go_wait(echo, 1))
        await asyncio.sleep(1)
        scope.cancel("closing")
    with pytest.raises(ScopeClosed):
        await waiter


async def test_nothing_starts_in_an_ended_scope() -> None:
    """go() into a scope that has ended is refused with its name."""
    async with Scope("early") as scope:
        pass
    with pytest.raises(ScopeClosed, match="'early' has ended"):
        scope.go(echo, 1)
    with pytest.raises(ScopeMisuse, match="used once"):
        await scope.__aenter__()
    with pytest.raises(ScopeClosed, match="not open yet"):
        Scope("new").go(echo, 1)


async def test_children_may_start_siblings_while_the_body_is_over() -> None:
    """As long as a child runs, the scope is open to what its children start."""

    async def parent(scope: Scope) -> None:
        await asyncio.sleep(1)
        scope.go(echo, 1, 1.0)

    async with Scope("s") as scope:
        scope.go(parent, scope)
    assert now() == 2.0


async def test_a_child_started_from_elsewhere_belongs_to_the_scope() -> None:
    """scope.go from a task of another owner gives the child this scope, its deadline, its values."""
    tenant = Key[str]("tenant")
    seen: list[object] = []

    async def child() -> None:
        seen.extend([backstay.current_scope(), remaining(), tenant.get()])

    async with Scope("app") as app:
        with bind(tenant, "acme"):
            async with Scope("request", timeout=1.0):
                await app.go(child)
    assert seen == [app, None, "acme"]


async def test_raw_tasks_are_owned_and_not_awaited() -> None:
    """A raw create_task inside a scope is attributed to it and becomes an orphan after it."""
    async with Scope("request", kind="request") as scope:
        task = asyncio.create_task(echo(1, 10.0))
        assert owned_by(scope) == [task]
        assert scope.raw_spawned == 1
        scope.go(echo, 1)
        assert scope.raw_spawned == 1
    owner = info(task).owner
    assert owner is scope
    assert owner.state == "ended"
    await task


async def test_adopt_makes_the_scope_wait() -> None:
    """An adopted task is awaited, and cancelled, like a child."""
    task = asyncio.create_task(echo(1, 3.0))
    async with Scope("app") as scope:
        adopt(task)
        assert scope.tasks == {task}
    assert task.result() == 1
    assert info(task).owner_path == ("app",)


async def test_a_scope_left_in_another_task_is_an_error_and_leaks_nothing() -> None:
    """A scope around a yield that moves to another task cancels its children and says so."""
    started: list[asyncio.Task[object]] = []

    async def numbers() -> AsyncIterator[int]:
        async with Scope("moving") as scope:
            started.append(scope.go(echo, 1, 100.0))
            yield 1
            yield 2

    stream = numbers()
    await anext(stream)
    with pytest.raises(ScopeMisuse, match="left in another"):
        await asyncio.create_task(_exhaust(stream))
    await asyncio.sleep(0)
    assert started[0].cancelled()


async def _exhaust(stream: AsyncIterator[int]) -> None:
    async for _ in stream:
        pass


async def test_closing_a_coroutine_inside_a_scope_cancels_the_children() -> None:
    """GeneratorExit cannot wait, so the children are cancelled and the scope ends at once."""
    started: list[asyncio.Task[object]] = []

    async def stream() -> AsyncIterator[int]:
        async with Scope("s") as scope:
            started.append(scope.go(echo, 1, 100.0))
            yield 1

    generator = stream()
    await anext(generator)
    await generator.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    assert started[0].cancelled()


async def test_statistics_and_repr_tell_the_state() -> None:
    """statistics() is a plain record, repr is for logs."""
    async with Scope("outer"), Scope("inner", max_tasks=3, timeout=9.0) as scope:
        scope.go(echo, 1, 1.0)
        await asyncio.sleep(0.5)
        numbers = scope.statistics()
        assert (numbers.path, numbers.alive, numbers.spawned) == (("outer", "inner"), 1, 1)
        assert (numbers.age_s, numbers.remaining_s, numbers.cause) == (0.5, 8.5, None)
        assert repr(scope) == "<Scope outer/inner open tasks=1/3>"
        assert scope.parent is not None
        assert scope.parent.name == "outer"


async def test_events_are_told_to_listeners() -> None:
    """Ending and deadlines are events for the rooms above."""
    ended: list[ScopeEnded] = []
    hits: list[DeadlineHit] = []
    stop = [scope_ended.subscribe(ended.append), deadline_hit.subscribe(hits.append)]
    try:
        with pytest.raises(TimeoutError):
            async with Scope("s", timeout=1.0):
                await asyncio.sleep(5)
    finally:
        for unsubscribe in stop:
            unsubscribe()
    assert [(e.path, e.lived_s) for e in ended] == [(("s",), 1.0)]
    assert [(h.set_by, h.timeout_s) for h in hits] == [("s", 1.0)]
    assert not scope_ended


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": -1},
        {"timeout": float("nan")},
        {"deadline": float("nan")},
        {"max_tasks": 0},
        {"on_exit": "hope"},
        {"on_error": "ignore"},
    ],
)
def test_bad_options_are_refused_with_the_name(wrong: dict[str, object]) -> None:
    """A value that cannot be meant is refused when the scope is made."""
    with pytest.raises(ValueError, match="scope 's'"):
        Scope("s", **wrong)  # type: ignore[arg-type]


async def test_a_fatal_error_of_a_child_leaves_as_itself() -> None:
    """SystemExit in a child ends the program and is not buried in a group."""
    # asyncio re-raises SystemExit out of the loop as well, so the scope is asked directly.
    from backstay.tasks._outcome import decide

    fatal = SystemExit(3)
    outcome = decide(
        scope="s",
        body=None,
        children=[ValueError()],
        fatal=fatal,
        cause=None,
        outer=None,
        unwrap=False,
    )
    assert outcome.raises is fatal


async def test_a_cancel_before_the_block_strikes_on_entering() -> None:
    """A scope that somebody gave up before it began does not run to its end."""
    scope = Scope("s")
    scope.cancel("not needed any more")
    async with scope:
        await asyncio.sleep(5)
    assert now() == 0.0
    assert str(scope.cause) == "not needed any more"


async def test_clean_up_after_a_cut_is_bound_by_the_deadline() -> None:
    """A cut scope cannot cut again, so a scope opened in the clean-up watches the deadline itself."""
    seen: list[tuple[str, float]] = []

    async def flush() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            try:
                async with Scope("flush"):
                    await asyncio.sleep(100)
            except DeadlineExceeded as error:
                seen.append((error.scope, now()))

    async with Scope("request", timeout=10.0) as scope:
        scope.go(flush)
        await asyncio.sleep(1)
        scope.cancel("client left")
        await flush()
    assert seen == [("request", 10.0)] * 2


async def test_a_child_lives_by_its_scopes_deadline_and_not_by_a_timeout_around_go() -> None:
    """timeout() around go() bounds the call, not the child, which outlives it."""

    async def child() -> float | None:
        async with Scope("inner"):
            await asyncio.sleep(5)
        return remaining()

    async with Scope("outer", timeout=50.0) as scope, timeout(1.0):
        task = scope.go(child)
    assert task.result() == 45.0


async def test_the_trace_bound_nearest_is_the_one_served() -> None:
    """A message's own trace, bound inside a long-lived scope, reaches the scope of the message."""
    async with Scope("consumer"):
        with bind(TRACE, "of-message"):
            async with Scope("message") as message:
                assert message.trace_id == "of-message"
        async with Scope("other", trace_id="given") as other:
            assert TRACE.get() == "given"
            async with Scope("inner") as inner:
                assert inner.trace_id == other.trace_id == "given"
        assert TRACE.get() is None


@pytest.mark.real_loop
async def test_a_thread_is_told_how_to_reach_the_scope() -> None:
    """go() and cancel() from a thread are refused: tasks belong to the thread of their loop."""
    async with Scope("s") as scope:
        with pytest.raises(ScopeMisuse, match="call_soon_threadsafe"):
            await asyncio.to_thread(go, echo, 1)
        with pytest.raises(ScopeMisuse, match="call_soon_threadsafe"):
            await asyncio.to_thread(scope.cancel, "from afar")
        assert scope.cause is None


def test_a_scope_whose_loop_is_closed_ends_quietly() -> None:
    """A coroutine collected after its loop was closed does not complain about the loop."""
    failures: list[object] = []

    async def host() -> None:
        async with Scope("s") as scope:
            scope.go(asyncio.sleep, 100)
            await asyncio.sleep(100)

    loop = asyncio.new_event_loop()
    coroutine = host()
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0))
    loop.set_exception_handler(lambda *_: None)
    loop.close()
    try:
        coroutine.close()
    except RuntimeError as error:
        failures.append(error)
    assert failures == []
    del task
    gc.collect()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_children_count_while_they_start() -> None:
    """A child that starts another in its eager first step does not exceed max_tasks."""
    refused: list[str] = []

    async def child(scope: Scope) -> None:
        try:
            scope.go(echo, 1, 1.0)
        except FullError as error:
            refused.append(error.reason)
        await asyncio.sleep(1)

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    async with Scope("pool", max_tasks=1) as scope:
        scope.go(child, scope)
        assert len(scope.tasks) == 1
    assert refused == ["full"]


def test_an_exit_of_a_child_tears_nobodys_clean_up(caplog: pytest.LogCaptureFixture) -> None:
    """SystemExit in a child ends the program once, and every other task cleans up before."""
    ended: list[str] = []

    async def stranger() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.01)
            ended.append("stranger")

    async def leaves() -> None:
        raise SystemExit(3)

    async def main() -> None:
        strangers.append(asyncio.create_task(stranger()))
        async with Scope("s") as scope:
            await asyncio.sleep(0)
            scope.go(leaves)
            await asyncio.sleep(100)

    strangers: list[asyncio.Task[None]] = []
    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 3
    gc.collect()
    assert ended == ["stranger"]
    assert caplog.messages == []
