"""The documents behind the pages: bounded, sorted, filtered, and keeping nothing alive."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from backstay import Scope, install, leak
from backstay._base import now
from backstay.observe.desk import Errand, Reply, Request
from backstay.observe.profile import Frame, Profile, Sample, make_desk
from backstay.observe.ui import Assets, UiDesk, make_desks
from backstay.observe.ui._flame import flame
from backstay.observe.ui._incidents import Incidents
from backstay.observe.ui._survey import Surveyor
from backstay.observe.ui._task_pages import BadQuery, group_page, member_page, one_task

pytestmark = pytest.mark.real_loop


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def sleep_long() -> None:
    await asyncio.sleep(3600)


async def with_tasks(count: int, look: Any) -> Any:
    """Start some tasks, look from another thread, and end them."""
    install()
    event = asyncio.Event()
    async with Scope("shop", on_exit="cancel") as shop:
        for _ in range(count):
            shop.go(wait_for, event)
        shop.go(sleep_long)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await asyncio.to_thread(look)


async def test_groups_are_filtered_sorted_and_cut() -> None:
    """A page tells how many there are, and holds no more rows than asked for."""

    def look() -> None:
        survey = Surveyor().survey()
        page = group_page(survey, {"limit": "1"})
        assert len(page["groups"]) == 1
        assert page["found_groups"] >= 2
        assert page["groups"][0]["count"] == 30
        found = group_page(survey, {"q": "sleep_long SHOP"})
        assert [one["coroutine"] for one in found["groups"]] == ["sleep_long"]
        assert found["found_tasks"] == 1
        least = group_page(survey, {"sort": "count", "reverse": "1"})
        assert least["groups"][-1]["count"] == 30
        assert group_page(survey, {"q": "no such words"})["groups"] == []
        assert group_page(survey, {"offset": "1000"})["groups"] == []
        json.dumps(page)

    await with_tasks(30, look)


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "beauty"},
        {"limit": "-1"},
        {"limit": "501"},
        {"offset": "x"},
        {"limit": "9" * 30},
    ],
)
async def test_a_page_refuses_what_it_cannot_mean(query: dict[str, str]) -> None:
    """One sentence that names the parameter."""
    survey = await asyncio.to_thread(Surveyor().survey)
    with pytest.raises(BadQuery, match=next(iter(query))):
        group_page(survey, query)


async def test_a_group_leads_to_its_members_and_each_to_its_chain() -> None:
    """From a group by its key to a task by its id; one that has ended is gone."""

    def look() -> str:
        survey = Surveyor().survey()
        key = group_page(survey, {"q": "wait_for"})["groups"][0]["key"]
        page = member_page(survey, key, {"limit": "5", "offset": "2"})
        assert page is not None
        assert len(page["members"]) == 5
        assert page["stack"][0]["function"] == "wait_for"
        one = one_task(page["members"][0]["id"])
        assert one is not None
        assert one["owner"].endswith("shop")
        assert one["scopes"][0]["name"] == "shop"
        assert "event" in one["blocked_on"]
        assert member_page(survey, "0", {}) is None
        return str(page["members"][0]["id"])

    name = await with_tasks(10, look)
    gc.collect()
    assert one_task("1") is None
    with pytest.raises(BadQuery):
        one_task("zz top")
    assert int(name, 16) > 0


async def test_a_look_is_kept_while_it_is_fresh_and_keeps_no_task_alive() -> None:
    """Two questions in a row are answered by one look; what it saw can still be collected."""
    install()
    surveyor = Surveyor()
    task = asyncio.get_running_loop().create_task(sleep_long())
    await asyncio.sleep(0)
    first = await asyncio.to_thread(surveyor.survey)
    assert await asyncio.to_thread(surveyor.survey) is first
    watch = weakref.ref(task)
    task.cancel()
    await asyncio.wait([task])
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert watch() is None


async def test_waits_name_a_ring_and_who_is_behind_it() -> None:
    """The two in the ring have its number; who waits for them has none."""
    install()
    one, other = asyncio.Lock(), asyncio.Lock()

    async def take(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await asyncio.sleep(0)
            async with second:
                pass

    loop = asyncio.get_running_loop()
    ring = [
        loop.create_task(take(one, other), name="left"),
        loop.create_task(take(other, one), name="right"),
    ]
    behind = loop.create_task(asyncio.wait(ring), name="behind")
    for _ in range(5):
        await asyncio.sleep(0)
    found = await asyncio.to_thread(leak.waits, loop)
    rings = {waiter.name: waiter.ring for waiter in found.tasks}
    assert rings["left"] == rings["right"] == 0
    assert rings["behind"] == -1
    named = {(found.tasks[a].name, found.tasks[b].name) for a, b in found.edges}
    assert {("left", "right"), ("right", "left"), ("behind", "left")} <= named
    short = await asyncio.to_thread(leak.waits, loop, limit=2)
    assert {waiter.name for waiter in short.tasks} == {"left", "right"}
    assert short.left_out == len(found.tasks) - 2
    for task in (*ring, behind):
        task.cancel()
    await asyncio.wait([*ring, behind])


def stack(*names: str) -> tuple[Frame, ...]:
    return tuple(Frame(name, "app.py", 1) for name in reversed(names))


def profile(*samples: tuple[tuple[str, ...], int, str]) -> Profile:
    return Profile(
        (("cpu", "nanoseconds"),),
        tuple(
            Sample(stack(*names), (value,), (("owner", owner),)) for names, value, owner in samples
        ),
    )


def test_a_flame_graph_adds_up() -> None:
    """Each node has what its samples have together; own values are those of the last call."""
    made = flame(profile((("a", "b"), 3, "x"), (("a", "c"), 4, "y"), (("a",), 1, "x")))
    names = [made["frames"][frame][0] if frame >= 0 else "all" for _, frame, *_ in made["nodes"]]
    told = {name: node[2:4] for name, node in zip(names, made["nodes"], strict=True)}
    assert told == {"all": [8, 0], "a": [8, 1], "b": [3, 3], "c": [4, 4]}
    assert made["labels"] == {"owner": [("x", 4), ("y", 4)]}
    only = flame(profile((("a", "b"), 3, "x"), (("a", "c"), 4, "y")), label=("owner", "y"))
    assert only["total"] == 4


def test_a_recursive_call_is_counted_once_in_the_table() -> None:
    """A function that calls itself has not spent its time twice."""
    made = flame(profile((("a", "a", "a"), 5, "x")))
    assert made["rows"][0][1:3] == [5, 5]


def test_a_comparison_has_both_sides_and_the_greatest_change_first() -> None:
    """What is gone is told as well as what is new."""
    made = flame(
        profile((("a",), 2, ""), (("new",), 9, "")),
        before=profile((("a",), 3, ""), (("old",), 1, "")),
    )
    rows = {made["frames"][row[0]][0]: row[1:] for row in made["rows"]}
    assert rows == {"new": [9, 9, 0, 0], "a": [2, 2, 3, 3], "old": [0, 0, 1, 1]}
    assert made["frames"][made["rows"][0][0]][0] == "new"
    assert (made["total"], made["before"]) == (11, 4)


def test_a_flame_graph_is_bounded() -> None:
    """A profile with a hundred thousand stacks becomes a few thousand nodes."""
    crowd = profile(
        *(((f"f{number % 300}", f"g{number}"), 1, f"{number}") for number in range(20_000))
    )
    made = flame(crowd)
    assert len(made["nodes"]) <= 4_000
    assert made["nodes_left_out"] > 0
    assert len(made["rows"]) <= 200
    assert len(made["labels"]["owner"]) <= 30


def ask(desk: UiDesk, path: str, **query: str) -> tuple[int, Any]:
    """Have a desk answer, at once and in this thread."""
    found = desk.answer(Request(path, query))
    if isinstance(found, Errand):
        found = found._try()
    assert isinstance(found, Reply)
    kind = found.content_type
    return found.status, json.loads(found.body) if kind == "application/json" else found.body


@pytest.fixture
def desk() -> UiDesk:
    return UiDesk(make_desk(), Incidents(lambda: ""))


def test_saved_profiles_are_kept_compared_and_forgotten(desk: UiDesk) -> None:
    """Twenty stay; the oldest is forgotten, with a sentence for who asks for it."""
    for number in range(1, 22):
        status, told = ask(desk, "/v1/saved/make", kind="task")
        assert (status, told["id"]) == (200, str(number))
    _, kept = ask(desk, "/v1/saved")
    assert [one["id"] for one in kept["profiles"]] == [str(number) for number in range(21, 1, -1)]
    assert ask(desk, "/v1/saved/flame", id="21", before="20")[0] == 200
    assert ask(desk, "/v1/saved/flame", id="1")[0] == 404
    status, packed = ask(desk, "/v1/saved/file", id="21")
    assert status == 200
    assert packed[:2] == b"\x1f\x8b"
    assert ask(desk, "/v1/saved/make", kind="nothing")[0] == 404
    assert ask(desk, "/v1/saved/make", kind="task", seconds="-1")[0] == 400
    assert ask(desk, "/v1/saved/flame", id="21", value="7")[0] == 400


def test_unknown_documents_and_processes_are_refused(desk: UiDesk) -> None:
    """The answer says what there is; no path of another process leads anywhere else."""
    assert ask(desk, "/v1/tasks/nothing")[0] == 404
    assert ask(desk, "/v1/tasks/one", id="zz")[0] == 400
    assert ask(desk, "/v1/processes/0/v1/now")[0] == 404
    assert ask(desk, "/v1/processes/../v1/now")[0] == 404
    assert ask(desk, "/v1/incidents/make", seconds="0")[0] == 400
    assert ask(desk, "/v1/incidents/make", seconds="x")[0] == 400


def test_the_present_is_told_without_a_loop(desk: UiDesk) -> None:
    """A process that has no loop yet answers as well."""
    began = now()
    status, told = ask(desk, "/v1/now")
    assert status == 200
    assert told["fds"] is None or told["fds"] > 0
    assert told["blocked"] is None
    assert now() - began < 30


def test_all_files_of_the_pages_are_shipped_and_load_only_each_other() -> None:
    """Each import and each address in the page is a file that is there; no script or style stands inline."""
    desk = Assets()
    page = desk.answer(Request("/ui/"))
    assert page.status == 200
    folder = Path(__file__).parents[4] / "src/backstay/observe/ui/static"
    names = [str(path.relative_to(folder)) for path in folder.rglob("*.*")]
    shipped = {name for name in names if desk.answer(Request(f"/ui/{name}")).status == 200}
    for name in ("index.html", "app.css", "icon.svg", "js/main.js"):
        assert desk.answer(Request(f"/ui/{name}")).status == 200, name
    assert shipped == set(names)
    html = page.body.decode()
    assert "http" not in html.replace("http-equiv", "")
    assert "style=" not in html
    for name in ("../_desk.py", "", "js", "js/../../_desk.py", "/etc/passwd"):
        status = desk.answer(Request(f"/ui/{name}")).status
        assert status == (200 if not name else 404), name
    assert desk.answer(Request("/ui")).status == 303


def test_the_scripts_stay_small() -> None:
    """All of them together are less than a picture."""
    desk = Assets()
    sizes = {
        name: len(desk.answer(Request(f"/ui/js/{name}.js")).body)
        for name in (
            "main",
            "dom",
            "api",
            "now",
            "tasks",
            "graph",
            "timeline",
            "profiles",
            "guards",
            "leaks",
            "host",
        )
    }
    assert 20_000 < sum(sizes.values()) < 120_000


def test_the_token_of_a_plane_becomes_a_cookie() -> None:
    """Who knows it gets in; who does not is told what to do."""
    assets, _ = make_desks(make_desk(), lambda: "", "correct-horse-battery")
    good = assets.answer(Request("/ui/enter", {"token": "correct-horse-battery"}))
    assert isinstance(good, Reply)
    cookie = dict(good.headers)["Set-Cookie"]
    assert "HttpOnly; SameSite=Strict" in cookie
    for wrong in ({}, {"token": ""}, {"token": "correct-horse-batterz"}):
        refused = assets.answer(Request("/ui/enter", wrong))
        assert isinstance(refused, Reply)
        assert refused.status == 403
        assert "Set-Cookie" not in dict(refused.headers)
        assert b"--admin-token-file" in refused.body
