"""The document behind `backstay top`: counts that only grow, one site with its tasks, and nothing kept alive."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from backstay import Scope, install
from backstay.observe.desk import Errand, Request
from backstay.observe.recorder import Recorder
from backstay.observe.ui import UiDesk
from backstay.observe.ui._incidents import Incidents
from backstay.observe.ui._now import Present
from backstay.observe.ui._survey import Survey, Surveyor
from backstay.observe.ui._top import Top

pytestmark = pytest.mark.real_loop


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


def top() -> Callable[..., Any]:
    made = Top(Present())
    return lambda **query: made.document(Surveyor().survey(), query)


async def test_counts_grow_by_births(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alive now, and ever seen: whoever asks twice knows who was born and who has ended."""
    monkeypatch.setattr("backstay.observe.ui._top._FRESH_S", -1.0)
    install(exact=True)
    event, look = asyncio.Event(), top()
    async with Scope("shop", on_exit="cancel") as shop:
        first, *_ = [shop.go(wait_for, event) for _ in range(3)]
        await asyncio.sleep(0)
        before = await asyncio.to_thread(look)
        for _ in range(2):
            shop.go(wait_for, event)
        first.cancel()
        await asyncio.sleep(0)
        after = await asyncio.to_thread(look)
    json.dumps(after)
    rows = [{one["site"]: one for one in told["groups"]} for told in (before, after)]
    (site,) = [
        site
        for site, one in rows[0].items()
        if one["alive"] == 3 and one["function"].startswith("test_counts")
    ]
    assert rows[0][site]["seen"] == 3
    assert rows[0][site]["owner"].endswith("shop")
    assert rows[0][site]["states"] == {"waiting": 3}
    assert rows[0][site]["blocked_on"].startswith("event wait at tests/unit/observe/ui/test_ui_top")
    born = sum(one["seen"] for one in rows[1].values()) - before["seen"]
    assert born >= 2
    assert after["tasks"] == sum(one["alive"] for one in rows[1].values())


async def test_loops_tell_steps_where_they_are_recorded() -> None:
    """None without a recorder; with one, counts by powers of two, of each loop."""
    install()
    look = top()
    told = await asyncio.to_thread(look)
    mine = [one for one in told["loops"] if one["running"]]
    assert mine[0]["kind"] == "asyncio"
    assert mine[0]["steps"] is None
    assert mine[0]["lag_s"] >= 0
    with Recorder():
        for _ in range(5):
            await asyncio.sleep(0)
        told = await asyncio.to_thread(look)
    (mine,) = [one for one in told["loops"] if one["steps"]]
    assert mine["steps"]["count"] >= 5
    assert sum(mine["steps"]["ready"]) == sum(mine["steps"]["step"]) == mine["steps"]["count"]


async def test_a_site_has_its_tasks_and_a_chain() -> None:
    """The oldest first, lines named as everywhere; None when nothing of it lives."""
    install()
    event, look = asyncio.Event(), top()
    async with Scope("shop", on_exit="cancel") as shop:
        for _ in range(30):
            shop.go(wait_for, event)
        await asyncio.sleep(0)
        told = await asyncio.to_thread(look)
        row = max(told["groups"], key=lambda one: one["alive"])
        found = await asyncio.to_thread(lambda: look(site=row["site"]))
        assert found["site"] == row["site"]
        assert found["families"][0]["count"] == 30
        assert len(found["members"]) == 20
        assert found["stack"][0]["place"].startswith("tests/unit/observe/ui/test_ui_top.py:")
        assert await asyncio.to_thread(lambda: look(site="no/such.py:1")) is None


async def test_what_runs_is_named_without_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may hold secrets; of `backstay run` the application is told."""
    install()
    look = top()
    for argv, name in (
        (["/srv/worker.py", "--password", "hunter2"], "worker.py"),
        (["/usr/bin/backstay", "run", "--port", "8000", "shop.web:app"], "backstay shop.web:app"),
        (["/x/backstay/__main__.py", "ps", "4711"], "backstay"),
        ([], "python"),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        assert (await asyncio.to_thread(look))["program"] == name


async def test_a_look_keeps_nothing_alive() -> None:
    """No task, no owner and nothing that they hold."""
    install()
    look = top()

    class Kept:
        pass

    async def hold(kept: Kept, event: asyncio.Event) -> None:
        await event.wait()
        del kept

    async def part() -> list[weakref.ref[Any]]:
        event, kept = asyncio.Event(), Kept()
        scope = Scope("holder")
        async with scope:
            task = scope.go(hold, kept, event)
            await asyncio.sleep(0)
            told = await asyncio.to_thread(look)
            for row in told["groups"]:
                await asyncio.to_thread(look, site=row["site"])
            event.set()
        return [weakref.ref(one) for one in (kept, event, scope, task)]

    refs = await part()
    await asyncio.sleep(0)
    gc.collect()
    assert [ref() for ref in refs] == [None] * 4


async def test_the_desk_answers() -> None:
    """On the plane: the document, and a refusal for a site that is gone."""
    install()
    desk = UiDesk(None, Incidents(lambda: ""))  # type: ignore[arg-type]

    def ask(**query: str) -> tuple[int, Any]:
        errand = desk.answer(Request("/v1/top", query))
        assert isinstance(errand, Errand)
        reply = errand._try()
        return reply.status, json.loads(reply.body)

    status, told = await asyncio.to_thread(ask)
    assert (status, told["tasks"] >= 1) == (200, True)
    status, told = await asyncio.to_thread(lambda: ask(site="gone.py:1"))
    assert status == 404
    assert told == {"error": "this spawn site has ended"}


async def test_whoever_asks_each_second_waits_for_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """But the first: an old one is returned while a new one is taken; a failed one harms nobody."""
    install()
    surveyor = Surveyor()
    first = await asyncio.to_thread(surveyor.recent)
    assert surveyor.recent() is first
    monkeypatch.setattr(surveyor, "_is_good", lambda last, fresh: False)
    go_on = threading.Event()
    looks = 0

    def slow() -> Survey:
        nonlocal looks
        looks += 1
        assert go_on.wait(10)
        if looks == 1:
            raise RuntimeError("away")
        return dataclasses.replace(first, tasks=4711)

    monkeypatch.setattr("backstay.observe.ui._survey._look", slow)
    for expected in (first.tasks, 4711):
        go_on.clear()
        assert all(surveyor.recent() is first for _ in range(3))
        go_on.set()
        for thread in threading.enumerate():
            if thread.name == "backstay-survey":
                await asyncio.to_thread(thread.join, 10)
        last = surveyor._last
        assert last is not None
        assert last.tasks == expected
    assert looks == 2
