"""A scope in a server's task: stale surroundings, lent tasks, and deadlines on a wheel."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import Any

import pytest

import backstay
from backstay import context as ambient
from backstay.errors import DeadlineExceeded, ScopeMisuse
from backstay.tasks import (
    DeadlineWheel,
    Scope,
    ServedScope,
    current_scope,
    info,
    inside,
    served_scope,
)


def wheel() -> DeadlineWheel:
    return DeadlineWheel(asyncio.get_running_loop())


async def test_it_behaves_as_a_scope_with_a_deadline() -> None:
    """Body and children are cut, and the error says whose deadline it was."""
    ends: list[float] = []

    async def child() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ends.append(backstay.now())

    with pytest.raises(DeadlineExceeded) as raised:
        async with ServedScope("GET /", wheel=wheel(), timeout=0.5) as scope:
            scope.go(child)
            await asyncio.sleep(100)
    assert raised.value.scope == "GET /"
    assert raised.value.timeout == 0.5
    assert ends == [pytest.approx(0.5, abs=0.011)]
    assert scope.state == "ended"


async def test_the_servers_task_is_lent_and_given_back() -> None:
    """While it serves, the task belongs to the request; afterwards to whom it was before."""
    seen: list[Any] = []

    async def serve() -> None:
        me = asyncio.current_task()
        assert me is not None
        seen.append(info(me).owner_path)
        async with ServedScope("GET /", wheel=wheel()):
            seen.append(info(me).owner_path)
        seen.append(info(me).owner_path)

    async with Scope("server") as server:
        await server.go(serve)
    assert seen == [("server",), ("server", "GET /"), ("server",)]


async def test_the_context_of_another_request_is_refused() -> None:
    """Neither its scope nor its deadline nor its values come along, alive or ended."""
    key = backstay.Key[str]("k")

    async def serve() -> tuple[Any, ...]:
        async with ServedScope("second", wheel=wheel()) as scope:
            return scope.path, backstay.remaining(), key.get()

    async with ServedScope("first", wheel=wheel(), timeout=5.0):
        with backstay.bind(key, "mine"):
            alive = await asyncio.create_task(serve())
            async with Scope("inner"):
                nested = await asyncio.create_task(serve())
            context = contextvars.copy_context()
    assert alive == nested == (("second",), None, None)
    ended = await asyncio.get_running_loop().create_task(serve(), context=context)
    assert ended == (("second",), None, None)


async def test_a_kept_alive_connection_holds_no_chain_of_past_requests() -> None:
    """Each request started in the context of the one before must not hold it once it is over."""
    alive: list[weakref.ref[ServedScope]] = []
    contexts = [contextvars.copy_context()]

    async def serve() -> None:
        async with ServedScope("GET /", wheel()) as scope:
            alive.append(weakref.ref(scope))
            contexts[0] = contextvars.copy_context()  # as a server that resumes reading here

    for _ in range(20):
        await asyncio.get_running_loop().create_task(serve(), context=contexts[0])
    assert sum(ref() is not None for ref in alive) <= 2


async def test_a_request_within_a_request_in_one_task_is_its_child() -> None:
    """An application called in process shares the caller's deadline."""
    outer = ServedScope("outer", wheel=wheel(), timeout=5.0)
    async with outer, ServedScope("inner", wheel=wheel(), timeout=50.0) as inner:
        assert inner.path == ("outer", "inner")
        assert backstay.remaining() == 5.0
        assert served_scope() is inner
    assert served_scope() is None


async def test_values_are_bound_and_restored() -> None:
    """They join what surrounds the server and end with the request."""
    outer, own = backstay.Key[str]("outer"), backstay.Key[str]("own")
    with backstay.bind(outer, "o"):
        async with ServedScope("GET /", wheel=wheel(), values={own: "x"}):
            assert (outer.get(), own.get()) == ("o", "x")
        assert own.get() is None


async def test_a_dropped_deadline_strikes_no_more_and_leaves_the_context() -> None:
    """Background work after the reply is bound by nothing, nested contexts included."""
    async with ServedScope("GET /", wheel=wheel(), timeout=0.5) as scope:
        task = asyncio.create_task(asyncio.sleep(2))
        scope.drop_deadline()
        assert backstay.remaining() is None
        await asyncio.sleep(2)
        await task
    assert scope.cause is None


async def test_derived_contexts_keep_working() -> None:
    """A context made for a request can be narrowed and bound to like any other."""
    async with ServedScope("GET /", wheel=wheel(), timeout=5.0):
        async with backstay.timeout(1.0):
            assert backstay.remaining() == 1.0
        assert ambient.current().without_deadline().deadline is None
        with backstay.bind(ambient.TRACE, "t"):
            assert backstay.remaining() == 5.0


async def test_what_nested_scopes_leave_behind_counts_for_the_request() -> None:
    """A raw task of an inner scope is answered for by the request."""
    async with ServedScope("GET /", wheel=wheel()) as scope:
        async with Scope("inner"):
            task = asyncio.create_task(asyncio.sleep(0))
        await task
    assert scope.raw_spawned == 1


async def test_every_slot_of_a_scope_is_set_as_scope_itself_does() -> None:
    """It sets its slots by hand; a slot that Scope gains or changes must not be missed."""
    plain = Scope("x", kind="request")
    served = ServedScope("x", wheel(), trace_id="t")
    lazy = {"_interrupt", "trace_id"}
    for name in Scope.__slots__:
        if name not in lazy and hasattr(plain, name) and name != "_options":
            assert getattr(served, name) == getattr(plain, name), name
    assert served.trace_id == "t"
    async with plain, served:
        for name in Scope.__slots__:
            assert hasattr(plain, name) == hasattr(served, name), name


async def test_misuse_is_refused() -> None:
    """Each request needs a scope of its own."""
    scope = ServedScope("GET /", wheel=wheel())
    async with scope:
        pass
    with pytest.raises(ScopeMisuse):
        scope.open()


async def test_a_block_can_stand_inside_a_scope_held_open_elsewhere() -> None:
    """What is spawned in the block belongs to that scope, and the block is not bound by it."""
    async with Scope("app") as app:

        async def elsewhere() -> tuple[str, ...]:
            with inside(app):
                task = asyncio.create_task(asyncio.sleep(0))
            await task
            return info(task).owner_path

        assert await asyncio.create_task(elsewhere()) == ("app",)
        assert current_scope() is app


async def test_the_wheel_strikes_late_by_a_slot_at_most_and_never_early() -> None:
    """Many deadlines on few timers, each in its time; who left is not struck."""
    struck: list[tuple[float, float]] = []

    class Target:
        def __init__(self, at: float) -> None:
            self.at = at

        def strike_deadline(self) -> None:
            struck.append((self.at, backstay.now()))

    it = wheel()
    timers = [it.add(Target(i * 0.0037), i * 0.0037) for i in range(200)]
    for timer in timers[::2]:
        timer.cancel()
    await asyncio.sleep(2)
    assert len(struck) == 100
    assert all(at <= when <= at + 0.0101 for at, when in struck)
    timers[1].cancel()
