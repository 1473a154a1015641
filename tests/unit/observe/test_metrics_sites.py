"""Living tasks by spawn site, and which sites have a row."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay import Scope, sync
from backstay._base import now
from backstay.observe.metrics._task_sites import (
    OTHER,
    SiteFigures,
    SiteRows,
    TaskSites,
    lost_by_site,
    site_label,
)
from backstay.tasks import install, uninstall


async def sleep() -> None:
    await asyncio.sleep(1000)


@pytest.fixture
def tracked() -> Any:
    """Track the running loop exactly, and stop after the test."""

    def start() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        uninstall(loop)
        install(loop, exact=True)
        return loop

    return start


async def end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def of_this_file(rows: dict[str, tuple[SiteFigures, int]]) -> list[tuple[SiteFigures, int]]:
    return [row for site, row in sorted(rows.items()) if "test_metrics_sites" in site]


async def test_tasks_are_counted_by_the_line_that_started_them(tracked: Any) -> None:
    """Two lines are two sites, whatever runs in the tasks."""
    loop = tracked()
    many = [asyncio.create_task(sleep()) for _ in range(3)]
    one = asyncio.create_task(sleep())
    found = of_this_file(TaskSites(10, (60.0,)).look([loop], now()))
    assert 3 in [figures.alive for figures, _ in found]
    await end(*many, one)


async def test_ages(tracked: Any) -> None:
    """Tasks older than each age are counted, and the oldest age is told."""
    loop = tracked()
    old = asyncio.create_task(sleep())
    await asyncio.sleep(100)
    tasks = [old]
    looks = TaskSites(10, (60.0, 600.0))
    found = {f.oldest: f for f, _ in looks.look([loop], now()).values()}
    assert found[max(found)].older == [1, 0]
    assert 99 < max(found) < 101
    await end(*tasks)


async def test_each_task_is_seen_once(tracked: Any) -> None:
    """Who is alive at two looks is new at the first only; who came and went between them at none."""
    loop = tracked()
    looks = TaskSites(10, ())

    def start() -> asyncio.Task[None]:
        return asyncio.create_task(sleep())

    def seen() -> int:
        rows = looks.look([loop], now())
        return next((n for site, (_, n) in rows.items() if site.endswith(f":{line}")), 0)

    line = start.__code__.co_firstlineno + 1
    first = start()
    assert (seen(), seen()) == (1, 1)
    await asyncio.sleep(1)
    await end(start())  # between two looks
    second = start()
    await end(first)
    assert (seen(), seen()) == (2, 2)
    await end(second)


async def test_tasks_of_one_tick_are_told_apart_by_their_number(tracked: Any) -> None:
    """Births are stamped to a second; who was started in the second of the last look is new all the same."""
    loop = tracked()
    looks = TaskSites(10, ())
    start = [asyncio.create_task(sleep()) for _ in range(2)]
    before = sum(n for _, n in of_this_file(looks.look([loop], now())))
    more = [asyncio.create_task(sleep()) for _ in range(3)]
    for task in more:
        task._born = start[0]._born  # type: ignore[attr-defined]
        task._site, task._lasti = start[0]._site, start[0]._lasti  # type: ignore[attr-defined]
    after = sum(n for _, n in of_this_file(looks.look([loop], now())))
    assert after - before == 3
    await end(*start, *more)


async def test_the_newest_trace_is_shown(tracked: Any) -> None:
    """A trace id of the newest task that has one, to go on from the figure to a request."""
    loop = tracked()
    looks = TaskSites(10, ())
    tasks: list[asyncio.Task[None]] = []
    for trace_id in ("aa", "bb", None):
        async with Scope("request", trace_id=trace_id):
            scope_task = asyncio.create_task(sleep())
            tasks.append(scope_task)
        await asyncio.sleep(1)
    traces = {figures.trace_id for figures, _ in of_this_file(looks.look([loop], now()))}
    assert "bb" in traces
    await end(*tasks)


async def test_two_calls_on_a_line_are_one_site(tracked: Any) -> None:
    """And the newest trace of both is shown."""
    loop = tracked()
    tasks: list[asyncio.Task[None]] = []

    def start(first: bool) -> None:
        tasks.extend([asyncio.create_task(sleep())] if first else [asyncio.create_task(sleep())])  # noqa: RUF034 - two calls

    for first, trace_id in ((True, "aa"), (False, "bb")):
        async with Scope("request", trace_id=trace_id):
            start(first)
        await asyncio.sleep(1)
    rows = TaskSites(10, ()).look([loop], now())
    line = start.__code__.co_firstlineno + 1
    (figures,) = (f for site, (f, _) in rows.items() if site.endswith(f":{line}"))
    assert (figures.alive, figures.trace_id) == (2, "bb")
    await end(*tasks)


async def test_a_look_keeps_nothing_alive(tracked: Any) -> None:
    """Numbers and names are remembered, and no task, owner or loop."""
    loop = tracked()
    looks = TaskSites(10, (1.0,))
    async with Scope("request", trace_id="aa") as scope:
        task = asyncio.create_task(sleep())
    owner, gone = weakref.ref(scope), weakref.ref(task)
    looks.look([loop], now())
    await end(task)
    del task, scope
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
    assert owner() is None


def test_a_closed_loop_is_forgotten() -> None:
    """Of a loop that is gone nothing is remembered."""
    looks = TaskSites(10, ())
    loop = asyncio.new_event_loop()
    looks.look([loop], 0.0)
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None
    assert not looks._newest


async def test_untracked_tasks_go_by_their_coroutine() -> None:
    """No line is known to have started them, so they stand where their coroutine is defined."""
    uninstall(asyncio.get_running_loop())
    task = asyncio.create_task(sleep())
    rows = TaskSites(10, (60.0,)).look([asyncio.get_running_loop()], now())
    site = f":{sleep.__code__.co_firstlineno}"
    (figures,) = (figures for name, (figures, _) in rows.items() if name.endswith(site))
    assert (figures.alive, figures.new, figures.older) == (1, 0, [0])
    await end(task)


@pytest.mark.real_loop
async def test_tasks_that_were_collected_are_counted() -> None:
    """Nobody held them, so the garbage collector ended them; the metric says of which line they were."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # it is told of them, and the test has no log
    install()

    async def wait() -> None:
        await loop.create_future()

    async with Scope("request", trace_id="aa"):
        task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    before = lost_by_site([loop])
    del task
    gc.collect()
    await asyncio.sleep(0)
    ((site, (many, trace_id)),) = lost_by_site([loop]).items()
    assert not before
    assert "test_metrics_sites.py:" in site
    assert (many, trace_id) == (1, "aa")
    uninstall()


def test_a_site_is_named_alike_on_every_host() -> None:
    """Relative to the working directory, and of a library from its package on."""
    assert site_label(f"{os.getcwd()}/shop/web.py:3") == "shop/web.py:3"
    assert (
        site_label("/srv/venv/lib/python3.12/site-packages/uvicorn/on.py:51") == "uvicorn/on.py:51"
    )
    assert site_label(f"{sync.__file__}:7") == "backstay/sync/__init__.py:7"
    assert site_label("/opt/app/web.py:3") == "/opt/app/web.py:3"


looks = st.lists(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.tuples(st.integers(0, 20), st.integers(0, 5)),
        max_size=8,
    ),
    max_size=20,
)


@given(looks, st.integers(1, 4))
def test_rows_are_few_and_lose_nothing(found: list[dict[str, Any]], most: int) -> None:
    """Never more rows than there is room for; all tasks are in one of them; no sum of counts ever falls."""
    rows = SiteRows(most)
    total = 0
    others = 0
    for look in found:
        figures = {site: SiteFigures(alive=alive, new=new) for site, (alive, new) in look.items()}
        total += sum(new for _, new in look.values())
        shown = rows.take(figures)
        assert len(set(shown) - {OTHER}) <= most
        assert sum(row.alive for row, _ in shown.values()) == sum(
            alive for alive, _ in look.values()
        )
        assert sum(seen for _, seen in shown.values()) == total
        assert others <= (others := shown.get(OTHER, (None, others))[1])


def test_a_row_stays_with_its_site() -> None:
    """A site that is a little larger does not take the row of another: series that flicker say nothing."""
    rows = SiteRows(1)
    rows.take({"a": SiteFigures(alive=10, new=10)})
    assert set(rows.take({"a": SiteFigures(alive=10), "b": SiteFigures(alive=15)})) == {"a", OTHER}
    shown = rows.take({"a": SiteFigures(alive=10), "b": SiteFigures(alive=20, new=1)})
    assert shown["b"][1] == 1
    assert shown[OTHER][1] == 10, "what the row has counted is not lost"
