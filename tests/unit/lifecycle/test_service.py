"""A service starts in order, runs, and stops in reverse order within its budget, whatever hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from backstay import now
from backstay._base import ServiceMoved, service_moved
from backstay.errors import DeadlineExceeded, LifecycleMisuse, StartFailed
from backstay.lifecycle import Service, register_hook, run_hooks
from backstay.lifecycle._component import Component, open_of


class Diary:
    """Who did what when, in seconds since it was begun."""

    def __init__(self) -> None:
        self.began = now()
        self.lines: list[str] = []

    def write(self, what: str) -> None:
        self.lines.append(f"{now() - self.began:g} {what}")

    def part(
        self,
        name: str,
        up: float = 0.0,
        down: float = 0.0,
        *,
        fail_up: bool = False,
        fail_down: bool = False,
        deaf: bool = False,
    ) -> Callable[[], AbstractAsyncContextManager[str]]:
        @asynccontextmanager
        async def component() -> AsyncIterator[str]:
            await asyncio.sleep(up)
            if fail_up:
                raise ConnectionError(f"{name} refuses")
            self.write(f"{name} up")
            yield f"the {name}"
            self.write(f"{name} told")
            while True:
                try:
                    await asyncio.sleep(down)
                    break
                except asyncio.CancelledError:
                    self.write(f"{name} cut")
                    if not deaf:
                        raise
            if fail_down:
                raise OSError(f"{name} breaks")
            self.write(f"{name} down")

        return component


async def until_running(service: Service) -> asyncio.Task[Any]:
    running = asyncio.get_running_loop().create_task(service.run())
    while service.state != "running":
        await asyncio.sleep(0.01)
    return running


async def test_it_starts_in_order_and_stops_in_reverse_independent_parts_at_once() -> None:
    """The bus and the database come up together, the server after both; and back."""
    diary = Diary()
    service = Service("shop")
    service.add("http", diary.part("http", 1, 2), needs=("db", "bus"), budget=10)
    service.add("db", diary.part("db", 2, 1))
    service.add("bus", diary.part("bus", 3, 3))
    running = asyncio.get_running_loop().create_task(service.run())
    await asyncio.sleep(3.5)
    assert (service.state, service.readiness.ready) == ("starting", False)
    with pytest.raises(LifecycleMisuse, match="'http' is starting"):
        service["http"]
    await asyncio.sleep(1)
    assert (service.state, service.readiness.ready) == ("running", True)
    assert service["db"] == "the db"
    service.stop("SIGTERM")
    assert not service.readiness.ready
    record = await running
    assert diary.lines == [
        "2 db up",
        "3 bus up",
        "4 http up",
        "4.5 http told",
        "6.5 http down",
        "6.5 db told",
        "6.5 bus told",
        "7.5 db down",
        "9.5 bus down",
    ]
    assert (record.state, record.reason, record.exit_code) == ("exited", "SIGTERM", 0)
    assert [(one.name, one.start_s, one.stop_s) for one in record.components] == [
        ("http", 1.0, 2.0),
        ("db", 2.0, 1.0),
        ("bus", 3.0, 3.0),
    ]


async def test_each_move_is_an_event() -> None:
    """From new to exited, with the reason."""
    moves: list[ServiceMoved] = []
    stop = service_moved.subscribe(moves.append)
    service = Service("shop")
    service.add("db", Diary().part("db"))
    running = await until_running(service)
    service.stop("enough")
    await running
    stop()
    assert [(one.before, one.after) for one in moves] == [
        ("new", "starting"),
        ("starting", "running"),
        ("running", "draining"),
        ("draining", "exited"),
    ]
    assert moves[2].why == "enough"


async def test_a_failed_start_stops_what_had_started_and_says_which_and_why() -> None:
    """Those that were on their way are cancelled; those behind it never begin."""
    diary = Diary()
    service = Service("shop", lame_duck=5, grace=20)
    service.add("db", diary.part("db"))
    service.add("slow", diary.part("slow", 60), start_within=100)
    service.add("bus", diary.part("bus", 1, fail_up=True), needs=("db",))
    service.add("http", diary.part("http"), needs=("bus",))
    with pytest.raises(StartFailed, match=r"'bus' of service 'shop'.*bus refuses") as caught:
        await service.run()
    assert caught.value.component == "bus"
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert diary.lines == ["0 db up", "1 db told", "1 db down"]
    assert {one.name: one.state for one in service.record().components}["http"] == "ended"
    assert service.state == "exited"


async def test_a_start_that_takes_too_long_fails_and_so_does_a_gate_that_stays_shut() -> None:
    """What was opened before the gate is closed again."""
    diary = Diary()
    service = Service("shop")
    service.add("db", diary.part("db", 60), start_within=2)
    with pytest.raises(StartFailed) as caught:
        await service.run()
    assert isinstance(caught.value.__cause__, DeadlineExceeded)
    assert now() - diary.began == 2

    async def never(value: str) -> bool:
        return False

    gated = Service("gated")
    gated.add("db", diary.part("db"), ready=never, start_within=1)
    with pytest.raises(StartFailed, match="start of db"):
        await gated.run()
    assert diary.lines[0] == "2 db up"


async def test_a_gate_opens_when_it_says_so() -> None:
    """It is asked again and again with what the component is."""
    asked: list[str] = []

    async def third_time(value: str) -> bool:
        asked.append(value)
        return len(asked) == 3

    service = Service("shop")
    service.add("db", Diary().part("db"), ready=third_time)
    running = await until_running(service)
    assert asked == ["the db"] * 3
    service.stop()
    await running


async def test_a_part_that_hangs_is_cut_at_its_budget_and_the_others_have_theirs() -> None:
    """The exit code is that of a shutdown in order; the record names who was cut."""
    diary = Diary()
    service = Service("shop", grace=30)
    service.add("http", diary.part("http", 0, 3600), needs=("db",), budget=10)
    service.add("db", diary.part("db", 0, 2), budget=5)
    running = await until_running(service)
    diary.began = now()
    service.stop()
    record = await running
    assert diary.lines[2:] == ["0 http told", "10 http cut", "10 db told", "12 db down"]
    assert [(one.name, one.cut) for one in record.components] == [("http", True), ("db", False)]
    assert record.exit_code == 0


async def test_nothing_exceeds_the_whole_budget_not_even_what_hears_no_cancel() -> None:
    """It is abandoned and named, with what it waits for; those that need it first are not waited for."""
    diary = Diary()
    service = Service("shop", grace=12)
    service.add("http", diary.part("http", 0, 3600, deaf=True), needs=("db",), budget=100)
    service.add("db", diary.part("db", 0, 3600), budget=100)
    running = await until_running(service)
    begun = now()
    service.stop()
    record = await running
    assert now() - begun <= 12 + 1.1 + 1.1
    (left,) = record.left_over
    assert "component http" in str(left)
    assert "sleep" in str(left)
    assert record.components[0].abandoned
    stubborn = [one for one in asyncio.all_tasks() if one.get_name() == "component http"]
    assert len(stubborn) == 1


async def test_a_lame_duck_serves_on_for_a_while_but_not_after_a_failure() -> None:
    """Readiness is down at once."""
    diary = Diary()
    service = Service("shop", lame_duck=2, grace=20)
    service.add("http", diary.part("http"))
    running = await until_running(service)
    diary.began = now()
    service.stop()
    await running
    assert diary.lines[1:] == ["2 http told", "2 http down"]


async def test_work_that_ends_by_itself_ends_the_service_and_its_error_is_joined() -> None:
    """With the error of whoever fails to stop."""

    async def crash(leave: asyncio.Event) -> None:
        await asyncio.sleep(3)
        raise ValueError("poison")

    diary = Diary()
    service = Service("shop")
    service.add("db", diary.part("db", fail_down=True))
    service.task("poller", crash, needs=("db",))
    with pytest.raises(ExceptionGroup) as caught:
        await service.run()
    assert sorted(map(str, caught.value.exceptions)) == ["db breaks", "poison"]
    assert service.record().reason == "component 'poller' has ended by itself"
    assert service.record().exit_code == 1


async def test_work_is_told_to_leave_and_finishes_what_it_has_begun() -> None:
    """Or is cancelled at its budget."""
    done: list[int] = []

    async def poll(leave: asyncio.Event) -> None:
        while not leave.is_set():
            await asyncio.sleep(2)
            done.append(len(done))

    service = Service("shop")
    service.task("poller", poll)
    running = await until_running(service)
    await asyncio.sleep(5)
    service.stop()
    await running
    assert done == [0, 1, 2]


async def test_hooks_run_after_what_they_follow_and_independent_ones_at_once() -> None:
    """Each within its budget; those that were registered for the process run as well."""
    diary = Diary()

    def hook(name: str, takes: float) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            diary.write(f"{name} begins")
            await asyncio.sleep(takes)
            diary.write(f"{name} ends")

        return work

    hooked = register_hook(hook("flush", 1), name="flush", after=("http", "not here"))
    try:
        service = Service("shop")
        service.add("http", diary.part("http", 0, 2))
        service.hook("goodbye", hook("goodbye", 1))
        service.hook("close", hook("close", 3600), after=("flush",), budget=4)
        running = await until_running(service)
        diary.began = now()
        service.stop()
        record = await running
    finally:
        hooked.forget()
    assert diary.lines[1:] == [
        "0 http told",
        "0 goodbye begins",
        "1 goodbye ends",
        "2 http down",
        "2 flush begins",
        "3 flush ends",
        "3 close begins",
    ]
    assert now() - diary.began == 7
    assert {one.name: one.cut for one in record.components}["close"]


async def test_hooks_run_without_a_service() -> None:
    """All of them, and their errors are joined."""
    ran: list[str] = []

    async def good() -> None:
        ran.append("good")

    async def bad() -> None:
        ran.append("bad")
        raise OSError("disk full")

    hooks = [register_hook(good, name="good", after=("bad",)), register_hook(bad, name="bad")]
    with pytest.raises(ValueError, match="a hook 'bad' already"):
        register_hook(bad, name="bad")
    with pytest.raises(ValueError, match="more than 0"):
        register_hook(bad, name="other", budget=0)
    try:
        with pytest.raises(ExceptionGroup) as caught:
            await run_hooks()
    finally:
        for one in hooks:
            one.forget()
    assert ran == ["bad", "good"]
    assert str(caught.value.exceptions[0]) == "disk full"
    assert (await run_hooks()).exit_code == 0


async def test_a_cancel_stops_in_order_and_a_second_one_at_once() -> None:
    """It ends as cancelled; nothing is left behind."""
    diary = Diary()
    service = Service("shop")
    service.add("http", diary.part("http", 0, 3), needs=("db",))
    service.add("db", diary.part("db", 0, 4))
    running = await until_running(service)
    diary.began = now()
    running.cancel()
    await asyncio.sleep(3.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert diary.lines[2:] == ["0 http told", "3 http down", "3 db told", "3.5 db cut"]
    assert service.state == "exited"
    assert len(asyncio.all_tasks()) == 1


async def test_a_stop_while_it_starts_cancels_what_is_on_its_way() -> None:
    """What has not begun never does."""
    diary = Diary()
    service = Service("shop")
    service.add("db", diary.part("db", 5))
    service.add("http", diary.part("http"), needs=("db",))
    running = asyncio.get_running_loop().create_task(service.run())
    await asyncio.sleep(1)
    service.stop()
    record = await running
    assert diary.lines == []
    assert record.state == "exited"


async def test_a_part_that_is_stopped_before_its_first_step_has_ended() -> None:
    """Its coroutine never ran, so nothing in it could say so; it is not waited for, or abandoned."""
    told: list[str] = []
    part = Component("db", open_of(Diary().part("db"), None, lambda: None), (), 10.0, 5.0)
    part.begin(lambda: told.append(part.state))
    part.tell(now(), now() + 5.0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert told == ["ended"]
    assert (part.alive, part.cut, part.error) == (False, False, None)


async def test_misuse_is_told() -> None:
    """What was seen, and what to do."""
    service = Service("shop")
    service.add("db", Diary().part("db"))
    with pytest.raises(LifecycleMisuse, match="has a component 'db' already"):
        service.add("db", Diary().part("db"))
    with pytest.raises(ValueError, match="more than 0 seconds"):
        service.add("x", Diary().part("x"), budget=0)
    service.hook("late", lambda: asyncio.sleep(0), after=("nowhere",))
    with pytest.raises(LifecycleMisuse, match="runs after 'nowhere', which is not there"):
        await service.run()
    with pytest.raises(ValueError, match="more than the lame duck"):
        Service("x", grace=2, lame_duck=2)
    ended = Service("once")
    ended.task("done", lambda leave: asyncio.sleep(0))
    await ended.run()
    with pytest.raises(LifecycleMisuse, match="used once"):
        await ended.run()
    with pytest.raises(LifecycleMisuse, match="has begun"):
        ended.task("late", lambda leave: asyncio.sleep(0))
