"""The task profile: what is counted together, its text forms, and that it keeps nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import backstay
from backstay import Scope
from backstay.observe.profile import diff, from_pprof, to_pprof
from backstay.observe.profile._profile import Frame
from backstay.observe.profile._tasks import TaskLine, profile_of, task_lines
from backstay.observe.profile._text import counted_text, full_text


async def waiting(event: asyncio.Event) -> None:
    await event.wait()


async def outer(event: asyncio.Event) -> None:
    await waiting(event)


async def some(event: asyncio.Event) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(outer(event)) for _ in range(3)]
    await asyncio.sleep(0)
    return tasks


def mine(lines: Iterator[TaskLine]) -> list[TaskLine]:
    return [line for line in lines if any(frame.function == "waiting" for frame in line.stack)]


async def test_tasks_are_counted_by_stack_site_owner_and_wait() -> None:
    """Three tasks of one line are one sample; the stack goes from the leaf to the task's coroutine."""
    backstay.install(exact=True)
    event = asyncio.Event()
    async with Scope("checkout", kind="request") as scope:
        for _ in range(3):
            scope.go(outer, event)
        await asyncio.sleep(0)
        (sample,) = profile_of(mine(task_lines())).samples
        event.set()
    assert sample.values == (3,)
    assert [frame.function for frame in sample.stack][-3:] == ["Event.wait", "waiting", "outer"]
    labels = dict(sample.labels)
    assert labels["owner"] == labels["route"] == "checkout"
    assert labels["state"] == "waiting"
    assert labels["wait"] == "event wait"
    assert str(labels["site"]).startswith(f"{__file__}:")


async def test_the_running_task_shows_what_it_runs() -> None:
    """Its innermost frame is the function that looks, and it is said to be running."""
    backstay.install(exact=True)
    running = [line for line in task_lines() if line.state == "running"]
    assert len(running) == 1
    names = [frame.function for frame in running[0].stack]
    assert "test_the_running_task_shows_what_it_runs" in names


async def test_a_delta_tells_what_was_started_meanwhile() -> None:
    """Two looks, one taken from the other: only the new tasks are left."""
    backstay.install(exact=True)
    event = asyncio.Event()
    tasks = await some(event)
    before = profile_of(mine(task_lines()))
    more = [asyncio.create_task(waiting(event)) for _ in range(2)]
    await asyncio.sleep(0)
    change = diff(profile_of(mine(task_lines())), before)
    assert [sample.values for sample in change.samples] == [(2,)]
    event.set()
    await asyncio.gather(*tasks, *more)


async def test_a_profile_keeps_nothing_alive() -> None:
    """Tasks, events and owners can go while the profile stays."""
    backstay.install(exact=True)

    class Payload:
        pass

    async def holding(event: asyncio.Event, payload: Payload) -> None:
        await event.wait()

    event, payload = asyncio.Event(), Payload()
    gone = weakref.ref(payload)
    task = asyncio.create_task(holding(event, payload))
    await asyncio.sleep(0)
    lines = list(task_lines())
    profile = from_pprof(to_pprof(profile_of(lines)))
    task_gone = weakref.ref(task)
    event.set()
    await task
    del task, payload
    await asyncio.sleep(0)  # the loop lets go of it
    gc.collect()
    assert (gone(), task_gone()) == (None, None)
    assert profile.total() == len(lines)


async def test_the_grouped_text_reads_like_gos() -> None:
    """A total, then for each group its count, its labels and its stack from the leaf."""
    backstay.install(exact=True)
    event = asyncio.Event()
    tasks = await some(event)
    text = counted_text("task", profile_of(mine(task_lines()), ("a note",)))
    event.set()
    await asyncio.gather(*tasks)
    head, note, empty, group, first, *_ = text.splitlines()
    assert (head, note, empty) == ("task profile: total 3", "# a note", "")
    assert group.startswith(f"3 @ site={__file__}:")
    assert group.endswith('state=waiting wait="event wait"')
    assert first.startswith("#\tEvent.wait\t")


async def test_the_full_text_shows_each_task() -> None:
    """Name, what it waits for and since when, each call with its place, who made it, its owner."""
    backstay.install(exact=True)
    event = asyncio.Event()
    async with Scope("checkout", trace_id="a" * 32) as scope:
        scope.go(outer, event)
        await asyncio.sleep(125)
        text = full_text(mine(task_lines()))
        event.set()
    assert "[event wait, 2 minutes]:\nEvent.wait(...)\n\t" in text
    assert "outer(...)\n" in text
    assert f"\n\t{__file__}:" in text.split("created by ")[1]
    assert f"owner: checkout\ntrace: {'a' * 32}\n" in text


def test_text_is_bounded_and_quoted() -> None:
    """After 10,000 tasks the rest is left out; what is no word stands in quotes."""
    line = TaskLine("t", "waiting", (Frame("f", "", 0),), owner='GET "/x"')
    text = full_text([line] * 10_002)
    assert text.endswith("the rest is left out, debug=1 counts all\n")
    assert text.count("task t [waiting]:") == 10_000
    assert 'owner="GET \\"/x\\""' in counted_text("task", profile_of([line]))
