"""Tasks that nobody held are counted as they are collected, and nobody else notices."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from backstay import Scope, install
from backstay.tasks import LostTasks, lost_tasks, uninstall
from backstay.tasks import _lost as lost_file

MESSAGE = "Task was destroyed but it is pending!"


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def lost() -> list[LostTasks]:
    return lost_tasks(asyncio.get_running_loop())


async def collect(caplog: pytest.LogCaptureFixture | None = None) -> None:
    """Let what was started begin to wait, and then collect what nobody holds."""
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The message of asyncio is expected here."""
    caplog.set_level(logging.CRITICAL, logger="asyncio")


async def test_what_is_collected_while_pending_is_counted_by_its_line() -> None:
    """Spawn line, owner, trace, age and what it waited for; two lines are two rows."""
    async with Scope("POST /orders", kind="request", trace_id="abc"):
        for _ in range(3):
            asyncio.create_task(forever())  # the line
        await asyncio.sleep(2)
    asyncio.create_task(forever(), name="audit")
    await collect()
    first, second = lost()
    assert (first.count, second.count) == (3, 1)
    assert first.site is not None
    assert first.site.file == __file__
    assert first.coroutine == "forever"
    assert (first.owner, first.trace_ids) == ("request POST /orders", ("abc",))
    assert (second.task_name, second.owner, second.trace_ids) == ("audit", "", ())
    assert second.last_at >= second.first_at >= 2.0
    assert second.age == 0.0


async def test_a_task_that_ends_or_is_held_is_not_lost() -> None:
    """Ended, cancelled, failed, or simply held and waiting: none of them is counted."""

    async def fail() -> None:
        raise ValueError("expected")

    held = asyncio.create_task(forever())
    asyncio.create_task(asyncio.sleep(0))
    cancelled = asyncio.create_task(forever())
    failing = asyncio.create_task(fail())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled, failing])
    assert isinstance(failing.exception(), ValueError)
    del cancelled, failing
    await collect()
    assert lost() == []
    held.cancel()


async def test_the_handler_before_us_gets_every_message_unchanged() -> None:
    """The program's own handler sees the very same context, also of other messages."""
    loop = asyncio.get_running_loop()
    uninstall(loop)
    seen: list[dict[str, Any]] = []

    def mine(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        seen.append(dict.fromkeys(context))
        seen[-1]["message"] = context["message"]

    loop.set_exception_handler(mine)
    install(loop, exact=True)
    loop.call_exception_handler({"message": "other", "extra": 1})
    asyncio.create_task(forever())
    await collect()
    assert [one["message"] for one in seen] == ["other", MESSAGE]
    assert set(seen[0]) == {"message", "extra"}
    assert [one.count for one in lost()] == [1]
    uninstall(loop)
    assert loop.get_exception_handler() is mine


async def test_a_handler_that_fails_loses_neither_its_error_nor_our_count() -> None:
    """What the handler raises goes on to the loop as it did, and the loss is counted."""
    loop = asyncio.get_running_loop()
    uninstall(loop)

    def broken(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raise RuntimeError("handler of the program")

    loop.set_exception_handler(broken)
    install(loop, exact=True)
    asyncio.create_task(forever())
    await collect()
    assert [one.count for one in lost()] == [1]


async def test_without_a_handler_the_loop_logs_as_it_always_did(caplog) -> None:
    """The default handler of the loop is called, and the log holds asyncio's own message."""
    caplog.set_level(logging.ERROR, logger="asyncio")
    asyncio.create_task(forever())
    await collect()
    assert MESSAGE in caplog.text
    uninstall()
    assert asyncio.get_running_loop().get_exception_handler() is None


async def test_a_handler_that_was_set_after_us_is_left_alone() -> None:
    """Who chained upon us stays; who replaced us has switched the count off, and only that."""
    loop = asyncio.get_running_loop()

    def later(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None: ...

    loop.set_exception_handler(later)
    asyncio.create_task(forever())
    await collect()
    assert lost() == []
    uninstall(loop)
    assert loop.get_exception_handler() is later


async def test_no_lost_task_is_brought_back_or_kept() -> None:
    """Neither the task nor its coroutine's locals survive being counted."""

    class Cargo:
        pass

    async def carry(cargo: Cargo) -> None:
        await forever()
        del cargo

    cargo = Cargo()
    gone = weakref.ref(cargo)
    task = weakref.ref(asyncio.create_task(carry(cargo)))
    del cargo
    await collect()
    assert lost()[0].count == 1
    assert task() is None
    assert gone() is None


async def test_the_memory_of_losses_is_bounded(monkeypatch) -> None:
    """Beyond the last row further lines are only counted."""
    monkeypatch.setattr(lost_file, "_MOST_SITES", 1)
    asyncio.create_task(forever())
    await collect()
    asyncio.create_task(forever())
    await collect()
    assert [one.count for one in lost()] == [1]


def test_what_dies_with_its_loop_is_not_lost() -> None:
    """A loop that is closed takes its tasks along; that is an end, if a rude one."""
    loop = asyncio.new_event_loop()
    install(loop)
    task = loop.create_task(forever())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task
    gc.collect()
    assert lost_tasks(loop) == []


def test_a_message_of_the_same_words_without_a_task_is_passed_on() -> None:
    """Only asyncio's own finalizer is believed."""
    loop = asyncio.new_event_loop()
    install(loop)
    loop.call_exception_handler({"message": MESSAGE, "task": "none"})
    assert lost_tasks(loop) == []
    loop.close()


async def test_a_finalizer_waits_for_nobody() -> None:
    """While somebody reads the counts a loss is put aside, and counted with the next look."""
    loop = asyncio.get_running_loop()
    found = lost_file.LostAndFound(loop)
    with found._guard:
        task = loop.create_task(forever())
        found._note(task)
        assert len(found._arrivals) == 1
    (row,) = found.lost()
    assert (row.count, row.coroutine) == (1, "forever")
    assert not found._arrivals
    task.cancel()


async def test_a_look_from_within_a_finalizer_has_no_answer(monkeypatch) -> None:
    """Rather none than a thread that waits for itself."""
    monkeypatch.setattr(lost_file, "_PATIENCE_S", 0.0)
    found = lost_file.LostAndFound(asyncio.get_running_loop())
    with found._guard:
        assert found.lost() == []
