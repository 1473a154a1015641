"""What one look at a loop sees, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import linecache
import threading
import weakref

import pytest

from backstay import Scope, now
from backstay.leak import SiteCensus, take_census
from backstay.leak._census import MAX_ASKED, Site, births_by_site
from backstay.tasks import uninstall


async def wait_for(gate: asyncio.Event) -> None:
    await gate.wait()


async def sleep_for(seconds: float) -> None:
    await asyncio.sleep(seconds)


def site_in(sites: tuple[SiteCensus, ...], text: str) -> SiteCensus:
    """The one site whose spawn line contains `text`."""
    found = [one for one in sites if text in linecache.getline(one.site.file, one.site.line)]
    assert len(found) == 1, [str(one.site) for one in sites]
    return found[0]


async def test_tasks_are_counted_by_the_line_that_started_them() -> None:
    """Two lines are two sites, each with its count, ages and function."""
    gate = asyncio.Event()
    keep = [asyncio.create_task(wait_for(gate)) for _ in range(3)]  # first line
    await asyncio.sleep(10)
    keep += [asyncio.create_task(sleep_for(99)) for _ in range(2)]  # second line
    await asyncio.sleep(2)
    census = take_census(asyncio.get_running_loop())
    first, second = site_in(census.sites, "# first line"), site_in(census.sites, "# second line")
    assert (first.alive, second.alive) == (3, 2)
    assert census.tasks == 6  # and the test itself
    assert (first.age_min, first.age_median, first.age_max) == (12.0, 12.0, 12.0)
    assert second.age_max == 2.0
    assert "test_tasks_are_counted" in first.site.function
    assert first.site.started_here
    assert not first.site.ours
    gate.set()
    for task in keep:
        task.cancel()


async def test_a_group_is_a_spawn_site_an_await_site_and_a_kind_of_owner() -> None:
    """Tasks of one line that wait at two lines, for two kinds of owner, are four groups."""
    gate = asyncio.Event()

    async def either(odd: bool) -> None:
        if odd:
            await gate.wait()
        else:
            await asyncio.sleep(500)

    keep = []
    for kind in ("request", "job"):
        async with Scope("s", kind=kind, trace_id=f"trace-{kind}"):
            keep += [asyncio.create_task(either(k < 2)) for k in range(3)]  # the line
            await asyncio.sleep(1)
    site = site_in(take_census(asyncio.get_running_loop()).sites, "# the line")
    groups = site.groups()
    assert sorted((one.owner_kind, one.count, one.waits_for) for one in groups) == [
        ("job", 1, "sleep"),
        ("job", 2, "event wait"),
        ("request", 1, "sleep"),
        ("request", 2, "event wait"),
    ]
    assert len({one.await_site for one in groups}) == 2
    assert groups[0].count == 2
    assert {one.trace_ids for one in groups} == {("trace-job",), ("trace-request",)}
    assert "event wait" in groups[0].blocked_on
    assert all(one.age_min == one.age_max for one in groups)
    for task in keep:
        task.cancel()


async def test_a_crowd_is_asked_by_sample_and_its_oldest_always() -> None:
    """Of 500 tasks at most 64 are asked; group counts are estimated and the oldest are among them."""
    gate = asyncio.Event()

    async def spawn(fn, *args) -> asyncio.Task[None]:
        return asyncio.create_task(fn(*args))  # the line

    keep = [await spawn(sleep_for, 10_000) for _ in range(5)]
    await asyncio.sleep(60)
    keep += [await spawn(wait_for, gate) for _ in range(495)]
    await asyncio.sleep(1)
    census = take_census(asyncio.get_running_loop())
    site = site_in(census.sites, "# the line")
    assert site.alive == 500
    assert len(site.witnesses) <= MAX_ASKED
    assert [one.age for one in site.witnesses[:5]] == [61.0] * 5
    crowd = site.groups()[0]
    assert crowd.waits_for == "event wait"
    assert 450 <= crowd.count <= 500
    assert census.groups()[0].count == crowd.count
    gate.set()
    for task in keep:
        task.cancel()


async def test_orphans_and_overdue_tasks_are_counted_after_their_grace() -> None:
    """Within the grace nobody is an orphan or overdue, beyond it everybody concerned is."""
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with Scope("order", timeout=5.0, kind="request"):
            stray = asyncio.create_task(sleep_for(1000))  # the line
            await asyncio.sleep(50)
    assert now() == 5.0
    await asyncio.sleep(0.5)
    site = site_in(take_census(loop).sites, "# the line")
    assert (site.orphans, site.overdue) == (0, 0)
    await asyncio.sleep(1.5)
    site = site_in(take_census(loop).sites, "# the line")
    assert (site.orphans, site.overdue) == (0, 1)
    await asyncio.sleep(4)
    site = site_in(take_census(loop).sites, "# the line")
    assert (site.orphans, site.overdue) == (1, 1)
    (witness,) = site.witnesses
    assert witness.orphan_for == pytest.approx(6.0)
    assert witness.overdue_for == pytest.approx(6.0)
    assert (witness.owner, witness.owner_state) == ("request order", "ended")
    assert site_in(take_census(loop, orphan_grace=60).sites, "# the line").orphans == 0
    stray.cancel()


async def test_a_witness_tells_who_asked_the_task_to_end() -> None:
    """A task that was cancelled and is still there shows by whom and for how long."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(1000)

    task = asyncio.create_task(stubborn(), name="stubborn-one")  # the line
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(7)
    (witness,) = site_in(take_census(asyncio.get_running_loop()).sites, "# the line").witnesses
    assert witness.task_name == "stubborn-one"
    assert witness.cancel_for == 7.0
    assert witness.cancel_by
    task.cancel()


@pytest.mark.parametrize("name", ["Task-17", "None"])
async def test_a_task_that_nobody_named_goes_by_its_coroutine(name: str) -> None:
    """Numbers that asyncio gives out say nothing to a reader."""
    task = asyncio.create_task(sleep_for(99), name=name)  # the line
    await asyncio.sleep(1)
    (witness,) = site_in(take_census(asyncio.get_running_loop()).sites, "# the line").witnesses
    assert witness.task_name == "sleep_for"
    task.cancel()


async def test_untracked_tasks_are_counted_where_they_are_defined() -> None:
    """Without tracking there is no spawn line: the coroutine's own line stands in, without an age."""
    loop = asyncio.get_running_loop()
    uninstall(loop)
    task = asyncio.create_task(sleep_for(99))
    await asyncio.sleep(1)
    sites = take_census(loop).sites
    site = site_in(sites, "async def sleep_for")
    assert not site.site.started_here
    assert site.site.function == "sleep_for"
    assert (site.age_max, site.orphans, site.witnesses[0].owner) == (None, 0, "")
    assert births_by_site(loop)[site.site] == [None]
    task.cancel()


async def test_two_spawns_on_one_line_are_one_site() -> None:
    """A closure made twice has two code positions but one line."""
    pair = [asyncio.create_task(sleep_for(9)), asyncio.create_task(sleep_for(9))]  # the line
    await asyncio.sleep(1)
    assert site_in(take_census(asyncio.get_running_loop()).sites, "# the line").alive == 2
    for task in pair:
        task.cancel()


async def test_a_kept_census_keeps_nothing_alive() -> None:
    """Tasks, futures and what they hold are free to go while the census is kept."""

    class Cargo:
        pass

    async def hold(cargo: Cargo, gate: asyncio.Future[None]) -> None:
        await gate

    gate = asyncio.get_running_loop().create_future()
    cargo = Cargo()
    async with Scope("s"):
        task = asyncio.create_task(hold(cargo, gate))
        await asyncio.sleep(1)
    census = take_census(asyncio.get_running_loop())
    groups = census.groups()
    gone = [weakref.ref(cargo), weakref.ref(task), weakref.ref(gate)]
    task.cancel()
    await asyncio.sleep(1)
    del task, cargo, gate
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]
    assert groups
    assert census.sites


async def test_our_own_lines_are_known_as_ours() -> None:
    """A task that Backstay starts for itself is recognised by its file."""
    import backstay.leak

    house = backstay.leak.__file__.removesuffix("leak/__init__.py")
    assert Site(f"{house}integrations/asgi.py", 7, "guard", True).ours
    assert not Site("/srv/app/main.py", 7, "main", True).ours
    assert str(Site("", 0, "compiled_thing", False)) == "compiled_thing"


@pytest.mark.real_loop
async def test_it_can_be_taken_from_a_thread_while_the_loop_is_blocked() -> None:
    """A blocked loop is when one wants to look; the look must not need the loop."""
    loop = asyncio.get_running_loop()
    keep = [asyncio.create_task(sleep_for(60)) for _ in range(2000)]
    await asyncio.sleep(0)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(take_census(loop).tasks))
    thread.start()
    thread.join(10)  # blocks the loop: nothing else runs until the census is there
    assert seen == [2001]
    for task in keep:
        task.cancel()
    await asyncio.gather(*keep, return_exceptions=True)
