"""Who is accused of what, who is not, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope
from backstay.errors import DeadlineExceeded
from backstay.leak import Report, Sampler, Site, report
from backstay.leak._verdicts import place_of


async def sleep_for(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def watched(steps: int, step) -> tuple[Sampler, Report]:
    """Run `step(k)` once a second under a sampler, and report at the end."""
    sampler = Sampler(asyncio.get_running_loop(), 1.0)
    for k in range(steps):
        await step(k)
        await asyncio.sleep(1)
        sampler.sample()
    return sampler, report(sampler)


def cancel_all() -> None:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()


async def test_a_leaking_handler_is_growing_and_its_orphans_are_in_the_detail() -> None:
    """The strongest verdict leads, the other is told as evidence, and everything is named."""

    async def handle(k: int) -> None:
        for n in range(20):
            async with Scope("POST /orders", kind="request", trace_id=f"{k:04}-{n}"):
                asyncio.create_task(sleep_for(1e6))  # the leak

    _, seen = await watched(40, handle)
    (top,) = seen.findings
    assert top.verdict == "GROWING"
    assert top.slope_per_s == pytest.approx(20.0)
    assert top.count == max(34 * 20, top.count)
    assert top.alive == 800
    assert top.impact > 3600 * 19
    assert top.site.endswith(f"test_verdicts.py:{handle.__code__.co_firstlineno + 3}")
    assert top.function.endswith("handle")
    assert (top.task_name, top.owner) == ("sleep_for", "request POST /orders")
    assert top.age == 40.0
    assert top.blocked_on.startswith("sleep (")
    assert top.held_by is None
    assert len(top.trace_ids) == 5
    assert all(trace.startswith("0000-") for trace in top.trace_ids)
    assert [line.split(":")[0] for line in top.detail] == ["GROWING", "ORPHAN"]
    assert "scope.go(sleep_for, ...)" in top.advice
    assert "outlive their request" in top.advice
    cancel_all()


async def test_few_keepers_rank_below_a_growing_site_and_are_called_what_they_may_be() -> None:
    """A pool's readers are orphans by the letter; they come last, with honest words."""

    async def step(k: int) -> None:
        async with Scope("GET /", kind="request"):
            if k < 3:
                asyncio.create_task(sleep_for(1e6))  # a keeper
            for _ in range(20):
                asyncio.create_task(sleep_for(1e6))  # the leak

    _, seen = await watched(60, step)
    growing, keeper = seen.findings
    assert (growing.verdict, keeper.verdict) == ("GROWING", "ORPHAN")
    assert keeper.count == 3
    assert keeper.impact == 3
    assert keeper.slope_per_s is None
    assert "often keepers of a library's connections" in keeper.detail[-1]
    assert "backstay.adopt" in keeper.advice
    cancel_all()


async def test_clean_up_that_ends_soon_is_not_accused() -> None:
    """Tasks that outlive their owner by less than the grace never show."""

    async def step(_: int) -> None:
        async with Scope("GET /", kind="request"):
            for _ in range(10):
                asyncio.create_task(sleep_for(4.0))

    _, seen = await watched(40, step)
    assert seen.findings == ()
    assert seen.growth == "judged"
    await asyncio.sleep(10)


async def test_tasks_of_an_open_scope_are_not_accused_for_being_old() -> None:
    """Long life on purpose is no offence: a hundred workers of an open scope are fine for days."""
    async with Scope("app", kind="app") as app:
        for _ in range(100):
            app.go(sleep_for, 1e6)

        async def step(_: int) -> None:
            await asyncio.sleep(3600)

        _, seen = await watched(30, step)
        assert seen.findings == ()
        app.cancel("done")


async def test_a_pile_under_one_owner_is_growing_with_advice_to_bound_it() -> None:
    """A consumer that starts a task per message, of which none ends, needs a limit."""
    async with Scope("consumer", kind="consumer") as scope:

        async def step(_: int) -> None:
            for _ in range(30):
                scope.go(sleep_for, 1e6)

        _, seen = await watched(60, step)
        (top,) = seen.findings
        assert (top.verdict, top.owner) == ("GROWING", "consumer consumer")
        assert "go_wait" in top.advice
        assert [line.split(":")[0] for line in top.detail] == ["GROWING"]
        scope.cancel("done")


async def test_requests_that_never_end_are_growing_after_half_an_hour() -> None:
    """Each has a living owner, so patience is long; then a deadline is what is missing."""
    loop = asyncio.get_running_loop()

    async def handle(gate: asyncio.Event) -> None:
        async with Scope("GET /slow", kind="request") as scope:
            scope.go(gate.wait)

    gate = asyncio.Event()
    sampler = Sampler(loop, 30.0)
    servers: list[asyncio.Task[None]] = []
    for _ in range(75):
        servers += [asyncio.create_task(handle(gate)) for _ in range(4)]
        await asyncio.sleep(30)
        sampler.sample()
    by_function = {one.function.rpartition(".")[2]: one for one in report(sampler).findings}
    assert by_function["handle"].verdict == "GROWING"
    assert "has a living request that does not end" in by_function["handle"].advice
    assert "timeout=" in by_function["handle"].advice
    gate.set()
    await asyncio.gather(*servers)


async def test_tasks_without_an_owner_are_told_to_get_one() -> None:
    """A pile that nobody owns is growing, and the advice starts with the owner."""
    gate = asyncio.Event()

    async def step(_: int) -> None:
        for _ in range(30):
            asyncio.create_task(gate.wait())

    _, seen = await watched(60, step)
    (top,) = seen.findings
    assert (top.verdict, top.owner) == ("GROWING", "")
    assert "have no owner" in top.advice
    assert "the event is always set" in top.advice
    cancel_all()


async def test_a_child_that_ignores_its_deadline_is_undead_and_overdue() -> None:
    """The scope waits for a child that swallows the cancel; the child is named, and since when."""

    async def deaf() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                pass

    async def order() -> None:
        async with Scope("order", timeout=2.0) as scope:
            scope.go(deaf)

    task = asyncio.create_task(order())
    await asyncio.sleep(10)
    (found,) = report().findings
    assert (found.verdict, found.count, found.task_name.rpartition(".")[2]) == (
        "UNDEAD",
        1,
        "deaf",
    )
    assert found.detail[0].startswith("OVERDUE: 1 of 1 alive")
    assert found.detail[1].startswith("UNDEAD: 1 of 1 alive")
    assert "no sampler" in found.detail[2]
    assert "swallows CancelledError" in found.advice
    assert "One was asked to end 8 s ago by scope 'order'" in found.advice
    with pytest.raises(DeadlineExceeded):
        await task


async def test_mixed_waits_are_told_apart() -> None:
    """When the accused wait for different things, the shares are listed and the largest leads."""
    gate = asyncio.Event()

    async def either(odd: bool) -> None:
        await (gate.wait() if odd else asyncio.sleep(1e6))

    async with Scope("job", kind="job"):
        strays = [asyncio.create_task(either(k < 7)) for k in range(10)]
    await asyncio.sleep(9)
    (found,) = report().findings
    assert found.blocked_on.startswith("event wait")
    assert "of 10 asked, waiting for: 7 event wait, 3 sleep" in found.detail
    for task in strays:
        task.cancel()


async def test_a_task_that_is_running_waits_for_nothing() -> None:
    """An orphan caught at work has no wait to show, and none is made up."""

    async def look() -> Report:
        await asyncio.sleep(9)
        return report()

    async with Scope("job", kind="job"):
        looker = asyncio.create_task(look())
    (found,) = (await looker).findings
    assert (found.verdict, found.blocked_on) == ("ORPHAN", "")


async def test_a_task_that_no_line_started_is_shown_where_it_is_defined() -> None:
    """Tasks made by a bare callback of the loop have no spawn line, and the finding says so."""
    loop = asyncio.get_running_loop()
    async with Scope("job", kind="job"):
        loop.call_soon(loop.create_task, sleep_for(1e6))
        await asyncio.sleep(1)
    await asyncio.sleep(9)
    (found,) = report().findings
    assert found.site.endswith(f"test_verdicts.py:{sleep_for.__code__.co_firstlineno}")
    assert (found.function, found.owner) == ("sleep_for", "job job")
    assert any("shown is where it is defined" in line for line in found.detail)
    cancel_all()


def test_places_inside_the_working_directory_are_relative(monkeypatch, tmp_path) -> None:
    """Inside the working directory a place is as short as a compiler would print it."""
    monkeypatch.chdir(tmp_path)
    assert place_of(Site(f"{tmp_path}/app/x.py", 3, "f", True)) == "app/x.py:3"
    assert place_of(Site("/elsewhere/x.py", 3, "f", True)) == "/elsewhere/x.py:3"


def test_a_removed_working_directory_is_no_error(monkeypatch, tmp_path) -> None:
    """A service whose directory was deleted by a deploy still gets its report."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert place_of(Site("/srv/x.py", 3, "f", True)) == "/srv/x.py:3"
