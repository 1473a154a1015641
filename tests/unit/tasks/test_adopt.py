"""`adopt`: one task, one owner, and nobody who waits for himself."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from backstay import Scope, now
from backstay.context import Key, bind
from backstay.errors import NoOwner, ScopeClosed, ScopeMisuse
from backstay.tasks import adopt, info


async def test_a_child_moves_to_the_scope_that_adopts_it() -> None:
    """The former scope waits for it no longer, gives its place away, and hears no error of it."""

    async def fails() -> None:
        await asyncio.sleep(5)
        raise ValueError("late")

    with pytest.raises(ExceptionGroup, match="'app'"):
        async with Scope("app") as app:
            async with Scope("request", max_tasks=1) as request:
                task = request.go(fails)
                adopt(task, app)
                assert request.tasks == frozenset()
                request.go(asyncio.sleep, 1)
            assert now() == 1.0
            assert info(task).owner is app
    assert now() == 5.0


async def test_adoption_ends_the_wait_of_the_former_scope() -> None:
    """A scope whose last child is taken away while it waits is left at once."""
    async with Scope("app") as app:

        async def request() -> None:
            async with Scope("request") as scope:
                task = scope.go(asyncio.sleep, 5)
                asyncio.get_running_loop().call_later(1, adopt, task, app)

        await app.go(request)
        assert now() == 1.0
    assert now() == 5.0


async def test_a_scope_cannot_adopt_the_task_it_lives_in() -> None:
    """Neither its host nor the host of a scope around it: each would wait for the other."""
    me = asyncio.current_task()
    assert me is not None

    async def child() -> None:
        async with Scope("inner"):
            adopt(me)

    with pytest.raises(ScopeMisuse, match="lives inside that task"):
        async with Scope("outer"):
            adopt(me)
    with pytest.raises(ExceptionGroup) as caught:
        async with Scope("outer") as scope:
            scope.go(child)
    assert isinstance(caught.value.exceptions[0], ScopeMisuse)


async def test_tasks_that_have_ended_and_scopes_that_have_are_told_apart() -> None:
    """Adopting a task that is done does nothing; an ended or missing scope is refused."""
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    async with Scope("s") as scope:
        adopt(task)
        assert scope.tasks == frozenset()
    with pytest.raises(ScopeClosed):
        adopt(task, scope)
    with pytest.raises(NoOwner):
        adopt(task)


def test_a_task_of_another_loop_is_refused() -> None:
    """A scope cannot wait across loops."""
    theirs: list[asyncio.Task[None]] = []
    started, over = threading.Event(), threading.Event()

    async def other() -> None:
        theirs.append(asyncio.create_task(asyncio.sleep(0)))
        started.set()
        await asyncio.to_thread(over.wait)

    async def main() -> None:
        async with Scope("s"):
            with pytest.raises(ScopeMisuse, match="another event loop"):
                adopt(theirs[0])

    thread = threading.Thread(target=asyncio.run, args=(other(),))
    thread.start()
    started.wait()
    try:
        asyncio.run(main())
    finally:
        over.set()
        thread.join()


async def test_work_handed_to_the_application_keeps_no_request_alive() -> None:
    """Neither app.go() from a request nor adopt() holds the request's scope or its values' context."""

    class Body:
        pass

    body_key = Key[Body]("body")
    refs: list[weakref.ref[object]] = []

    async def request(app: Scope) -> None:
        async with Scope("request", timeout=100) as scope:
            refs.append(weakref.ref(scope))
            app.go(asyncio.sleep, 50)
            task = asyncio.create_task(asyncio.sleep(50), context=_fresh())
            body = Body()
            refs.append(weakref.ref(body))
            with bind(body_key, body):
                adopt(task, app)

    async with Scope("app") as app:
        await asyncio.create_task(request(app))
        await asyncio.sleep(1)
        gc.collect()
        assert [ref() for ref in refs] == [None, None]
        app.cancel("seen enough")


def _fresh():
    from contextvars import Context

    return Context()
