"""Tasks that outlive their request, and the application's scope that may take them in."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from asgi_harness import Exchange, hello

import backstay
from backstay._base import OrphansFound, orphans_found
from backstay.integrations.asgi import Guard, guard
from backstay.tasks import info


def leaky(spawned: list[asyncio.Task[Any]], work: Any, *, nested: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if nested:
            async with backstay.Scope("inner"):
                spawned.append(asyncio.create_task(work()))
        else:
            spawned.append(asyncio.create_task(work()))
        await hello(scope, receive, send)

    return app


async def forever() -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize("nested", [False, True])
async def test_orphans_are_counted_and_named_by_their_spawn_site(
    nested: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """By default they are reported and left alone."""
    spawned: list[asyncio.Task[Any]] = []
    heard: list[OrphansFound] = []
    unsubscribe = orphans_found.subscribe(heard.append)
    served = guard(leaky(spawned, forever, nested=nested))
    for _ in range(3):
        await Exchange(served).run()
    await asyncio.sleep(1)
    unsubscribe()
    assert served.statistics().orphans == 3
    assert not any(task.done() for task in spawned)
    lines = [r for r in caplog.records if r.name == "backstay.asgi"]
    assert len(lines) == 1, "the same leak is not told again and again"
    assert "test_asgi_orphans.py:" in lines[0].getMessage()
    assert lines[0].levelno == logging.WARNING
    assert sum(event.count for event in heard) == 3
    assert heard[0].path[0] == "GET /"


async def test_a_task_that_is_just_finishing_is_nobodys_orphan() -> None:
    """A moment of grace keeps the count honest."""
    served = guard(leaky([], lambda: asyncio.sleep(0.01)))
    await Exchange(served).run()
    await asyncio.sleep(1)
    assert served.statistics().orphans == 0


async def test_tasks_of_a_running_request_are_not_orphans() -> None:
    """Only what outlives its request counts, and the look does not mistake neighbours."""
    spawned: list[asyncio.Task[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            task = asyncio.create_task(forever())
            await asyncio.sleep(5)
            assert not task.cancelled()
            task.cancel()
            await hello(scope, receive, send)
        else:
            await leaky(spawned, forever)(scope, receive, send)

    served = guard(app, on_orphan="cancel")
    trace = [("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01")]
    slow = Exchange(served, path="/slow", headers=trace).start()
    await Exchange(served, headers=trace).run()
    assert (await slow).status == 200
    assert served.statistics().orphans == 1


async def test_orphans_are_cancelled_by_policy() -> None:
    """Cancelled a moment after the end, with their clean-up run."""
    spawned: list[asyncio.Task[Any]] = []
    cleaned: list[float] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            cleaned.append(backstay.now())

    served = guard(leaky(spawned, work), on_orphan="cancel")
    await Exchange(served).run()
    await asyncio.sleep(1)
    assert spawned[0].cancelled()
    assert cleaned[0] <= 0.1
    stats = served.statistics()
    assert (stats.orphans, stats.orphans_cancelled) == (1, 1)


async def test_an_orphan_that_swallows_its_cancel_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Waiting has a bound, and then somebody hears of it."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(8)
                return
            except asyncio.CancelledError:
                pass

    served = guard(leaky([], stubborn), on_orphan="cancel")
    await Exchange(served).run()
    await asyncio.sleep(7)
    assert any("swallows CancelledError" in r.getMessage() for r in caplog.records)
    await asyncio.sleep(10)


async def test_adopted_orphans_belong_to_the_app_and_drain_at_shutdown() -> None:
    """They finish in the time given, before the application closes what they need."""
    spawned: list[asyncio.Task[Any]] = []
    events: list[str] = []

    async def work() -> None:
        await asyncio.sleep(5)
        events.append("work done")

    inner = leaky(spawned, work)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send, events)
        else:
            await inner(scope, receive, send)

    served = guard(app, on_orphan="adopt")
    life = Lifespan(served)
    await life.startup()
    await Exchange(served).run()
    await asyncio.sleep(1)
    owner = info(spawned[0]).owner
    assert owner is not None
    assert (owner.name, owner.kind, owner.state) == ("app", "app", "open")
    assert served.statistics().adopted_alive == 1
    await life.shutdown()
    assert events == ["started", "work done", "stopped"]
    assert owner.state == "ended"
    assert served.statistics().adopted_alive == 0


async def test_adopted_orphans_that_will_not_finish_are_cancelled_at_shutdown() -> None:
    """The drain has a bound."""
    spawned: list[asyncio.Task[Any]] = []
    inner = leaky(spawned, forever)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send, [])
        else:
            await inner(scope, receive, send)

    served = guard(app, on_orphan="adopt", drain_timeout=2.0)
    life = Lifespan(served)
    await life.startup()
    await Exchange(served).run()
    await life.shutdown()
    assert spawned[0].cancelled()
    assert backstay.now() == pytest.approx(2.0)


async def test_adopting_works_without_lifespan_and_failures_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The app scope opens when first needed; a failing stranger ends nobody else."""
    spawned: list[asyncio.Task[Any]] = []

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("late")

    served = guard(leaky(spawned, fails), on_orphan="adopt")
    await Exchange(served).run()
    other = guard(leaky(spawned, forever), on_orphan="adopt")
    await Exchange(other).run()
    await asyncio.sleep(2)
    assert isinstance(spawned[0].exception(), ValueError)
    assert not spawned[1].done()
    assert any("adopted task" in r.getMessage() for r in caplog.records)


async def test_observe_only_counts(caplog: pytest.LogCaptureFixture) -> None:
    """No line in the log and no action, whatever the policy says."""
    spawned: list[asyncio.Task[Any]] = []
    served = guard(leaky(spawned, forever), observe=True, on_orphan="cancel")
    await Exchange(served).run()
    await asyncio.sleep(1)
    assert served.statistics().orphans == 1
    assert not spawned[0].done()
    assert info(spawned[0]).owner_path == ("GET /",)
    assert not [r for r in caplog.records if r.name == "backstay.asgi"]


# -- lifespan --------------------------------------------------------------------


async def lifespan(scope: Any, receive: Any, send: Any, events: list[str]) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    events.append("started")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    events.append("stopped")
    await send({"type": "lifespan.shutdown.complete"})


class Lifespan:
    """A server's side of the lifespan."""

    def __init__(self, app: Guard) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.outbox: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "lifespan"}
        self.task = asyncio.create_task(app(scope, self.inbox.get, self.outbox.put))

    async def startup(self) -> None:
        self.inbox.put_nowait({"type": "lifespan.startup"})
        assert (await self.outbox.get())["type"] == "lifespan.startup.complete"

    async def shutdown(self) -> None:
        self.inbox.put_nowait({"type": "lifespan.shutdown"})
        assert (await self.outbox.get())["type"] == "lifespan.shutdown.complete"
        await self.task


async def test_background_tasks_started_in_the_lifespan_belong_to_the_app() -> None:
    """Both raw tasks and those of go(); the latter end with the app scope."""
    tasks: list[asyncio.Task[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.create_task(forever()))
        tasks.append(backstay.go(forever))
        await lifespan(scope, receive, send, [])

    life = Lifespan(guard(app))
    await life.startup()
    assert [info(task).owner_path for task in tasks] == [("app",), ("app",)]
    await life.shutdown()
    assert tasks[1].cancelled()
    assert not tasks[0].done()


async def test_an_application_without_lifespan_support_is_seen_as_such() -> None:
    """Servers conclude it from the error, so the error must reach them unchanged."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    life = Lifespan(guard(app))
    with pytest.raises(AssertionError):
        await life.task


async def test_a_failed_startup_passes_through() -> None:
    """Message and error go to the server as without a guard."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no db"})
        raise RuntimeError("no db")

    life = Lifespan(guard(app))
    life.inbox.put_nowait({"type": "lifespan.startup"})
    assert (await life.outbox.get())["message"] == "no db"
    with pytest.raises(RuntimeError, match="no db"):
        await life.task
