"""The dump as JSON and as text."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from backstay.multiloop import LoopStatistics, MultiloopStatistics
from backstay.observe import dump
from backstay.observe.dump import Dump, Group, Member, to_json, to_text
from backstay.observe.dump import _snapshot as taking
from backstay.tasks import BlockedOn, ChainFrame

CWD = os.getcwd()
QUEUE = BlockedOn("queue", "queue get", "0 items, 3 getters", f"{CWD}/shop/stock.py:41")
LIB = f"{sys.prefix}/lib/python3.11/site-packages/uvicorn/server.py:24"


def group(count: int = 3, **changes: Any) -> Group:
    fields: dict[str, Any] = {
        "count": count,
        "site": f"{CWD}/shop/orders.py:88",
        "function": "create_order",
        "coroutine": "reserve",
        "definition": f"{CWD}/shop/stock.py:30",
        "owner_path": ("main", "POST /orders"),
        "kind": "request",
        "state": "waiting",
        "blocked_on": QUEUE,
        "running_at": None,
        "age_min_s": 0.25,
        "age_max_s": 130.0,
        "trace_ids": ("4bf9",),
        "examples": (),
    }
    return Group(**(fields | changes))


def made(*groups: Group, left_out: tuple[int, int] = (0, 0)) -> Dump:
    tasks = sum(each.count for each in groups) + left_out[1]
    return Dump(4711, 1_700_000_000.0, tasks, groups, *left_out)


RUNNING = group(
    1,
    site=None,
    function="serve",
    coroutine="serve",
    owner_path=(),
    kind="",
    state="running",
    blocked_on=None,
    running_at="/usr/lib/python3.11/asyncio/base_events.py:5",
    age_min_s=None,
    age_max_s=None,
    trace_ids=(),
)


def test_the_document_is_what_the_contract_says() -> None:
    """The keys that other programs read are there, and all values are JSON."""
    document = json.loads(json.dumps(to_json(made(group()))))
    assert document["pid"] == 4711
    assert document["tasks"] == 3
    (only,) = document["groups"]
    assert only["count"] == 3
    assert document["directory"] == CWD
    assert only["site"] == "shop/orders.py:88"
    assert only["definition"] == "shop/stock.py:30"
    assert only["waits"]["site"] == "shop/stock.py:41"
    assert only["function"] == "create_order"
    assert (only["owner"], only["kind"], only["state"]) == ("POST /orders", "request", "waiting")
    assert only["blocked_on"] == "queue get (0 items, 3 getters) at shop/stock.py:41"
    assert (only["age_min_s"], only["age_max_s"]) == (0.25, 130.0)
    assert only["trace_ids"] == ["4bf9"]
    assert "stack" not in only
    assert "tree" not in document


def test_places_are_relative_to_the_directory_of_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Inside it relative, outside absolute; who prints elsewhere shows the same places."""
    outside = group(1, site="/srv/other/x.py:3", running_at=f"{CWD}/y.py:4", state="running")
    document = to_json(made(group(), outside))
    monkeypatch.chdir(tmp_path)
    assert [one["site"] for one in document["groups"]] == ["shop/orders.py:88", "/srv/other/x.py:3"]
    assert document["groups"][1]["running_at"] == "y.py:4"
    assert "queue get at shop/stock.py:41" in to_text(document, width=200)
    assert to_json(made(group()))["groups"][0]["site"] == f"{CWD}/shop/orders.py:88"
    tmp_path.rmdir()  # the directory is gone: then nothing is relative to it
    document = to_json(made(group()))
    assert (document["directory"], document["groups"][0]["site"]) == (
        None,
        f"{CWD}/shop/orders.py:88",
    )


def test_the_table_lines_up() -> None:
    """One row per group, places relative to where one stands, columns aligned."""
    text = to_text(to_json(made(group(12_480), RUNNING)), width=200)
    assert text.splitlines() == [
        "12,481 tasks in 2 groups, process 4711",
        "",
        " COUNT  AGE     WAITS FOR                            STARTED AT         OWNER",
        "12,480  <1s-2m  queue get at shop/stock.py:41        shop/orders.py:88  request POST /orders",
        "     1  ?       running at asyncio/base_events.py:5  ? (serve)          -",
    ]


def test_narrow_terminals_get_paragraphs() -> None:
    """Where the table does not fit, each group is a few short lines, and no place is cut."""
    long = f"{CWD}/" + "deep/" * 12 + "file.py:7"
    text = to_text(to_json(made(group(), group(2, site=long), RUNNING)), width=60)
    assert text.splitlines() == [
        "6 tasks in 3 groups, process 4711",
        "",
        "3 × queue get, <1s-2m",
        "    waits at    shop/stock.py:41",
        "    started at  shop/orders.py:88",
        "    for         request POST /orders",
        "",
        "2 × queue get, <1s-2m",
        "    waits at    shop/stock.py:41",
        "    started at",
        "      " + "deep/" * 12 + "file.py:7",
        "    for         request POST /orders",
        "",
        "1 × running, serve, ?",
        "    running at  asyncio/base_events.py:5",
        "    started at  ? (serve)",
        "    for         -",
    ]


def test_multiloops_are_shown_above_the_tasks() -> None:
    """Queue lengths, steals, hand-offs and parks of each scheduler, and a line for each loop."""
    loop = LoopStatistics(
        name="render/0",
        state="blocked",
        queued=2,
        running=1,
        started=9,
        steals=1,
        stolen=3,
        hand_offs=1,
        handed_off=4,
        global_looks=2,
        parks=5,
        stale=0,
    )
    pool = MultiloopStatistics(
        name="render",
        state="open",
        procs=1,
        waiting=7,
        queued=2,
        running=1,
        alive=10,
        started=9,
        dropped=0,
        steals=1,
        stolen=3,
        hand_offs=1,
        handed_off=4,
        parks=5,
        loops=(loop,),
    )
    text = to_text({**to_json(made(group())), "multiloops": [asdict(pool)]}, width=200)
    assert text.splitlines()[:5] == [
        "3 tasks in 1 group, process 4711",
        "multiloop render  open, 1 loop, 7 for any loop, 2 queued, 1 running, 9 started",
        "  1 steal of 3 jobs, 1 hand-off of 4 jobs, 5 parks",
        "  render/0  blocked, 2 queued, 1 running, 9 started",
        "",
    ]


def test_ready_and_cancelling_are_said() -> None:
    """A task that waits for nothing shows its state; one that was cancelled shows both."""
    ready = group(blocked_on=None, state="ready")
    cancelling = group(state="cancelling", site=LIB)
    text = to_text(to_json(made(ready, cancelling)), width=200)
    assert "  ready  " in text
    assert "queue get at shop/stock.py:41 (cancelling)  uvicorn/server.py:24" in text
    assert "cancelling, queue get" in to_text(to_json(made(cancelling)), width=50)
    assert "ready, reserve" in to_text(to_json(made(ready)), width=50)


def test_rows_are_bounded() -> None:
    """The table shows forty groups and counts the rest, also what the snapshot had left out."""
    groups = [group(1, site=f"{CWD}/a.py:{number}") for number in range(45)]
    text = to_text(to_json(made(*groups, left_out=(10, 20))), width=200)
    assert len(text.splitlines()) == 2 + 41 + 2
    assert text.endswith("… and 15 more groups with 25 tasks\n")
    one = to_text(to_json(made(group(), left_out=(1, 1))), width=200)
    assert one.endswith("… and 1 more group with 1 task\n")


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        (LIB, "uvicorn/server.py:24"),
        ("/usr/lib/python3/dist-packages/six.py:1", "six.py:1"),
        ("/usr/lib/python3.12/asyncio/tasks.py:9", "asyncio/tasks.py:9"),
        ("/checkout/src/backstay/cli/_run.py:9", "backstay/cli/_run.py:9"),
        ("/home/me/asyncio/shop.py:9", "/home/me/asyncio/shop.py:9"),
        ("/home/me/backstay/shop.py:9", "/home/me/backstay/shop.py:9"),
        (f"{CWD}/shop/a.py:3", "shop/a.py:3"),
    ],
)
def test_places_are_short_and_can_still_be_found(place: str, shown: str) -> None:
    """Library paths start at the package, one's own where one stands; others stay whole."""
    assert f" {shown}  " in to_text(to_json(made(group(site=place))), width=250)


def test_nothing_to_show() -> None:
    """A process without tasks is said to have none."""
    assert to_text(to_json(made())) == "no tasks in process 4711\n"


def test_the_tree_follows_the_owners() -> None:
    """Groups stand under their owner, owners under theirs, and the unowned at the end."""
    root = group(1, owner_path=("main",), kind="app", coroutine="serve")
    text = to_text(to_json(made(group(), root, RUNNING), tree=True))
    assert text.splitlines() == [
        "5 tasks in 3 groups, process 4711",
        "",
        "app main  4 tasks",
        "  1 × queue get at shop/stock.py:41, <1s-2m, started at shop/orders.py:88",
        "  request POST /orders  3 tasks",
        "    3 × queue get at shop/stock.py:41, <1s-2m, started at shop/orders.py:88",
        "(no owner)  1 task",
        "  1 × running at asyncio/base_events.py:5, ?, started at ? (serve)",
    ]


def test_the_tree_is_bounded() -> None:
    """Hundreds of owners, or of groups of one owner, do not flood the terminal."""
    owners = [group(1, owner_path=("main", f"job {number}")) for number in range(60)]
    document = to_json(made(*owners), tree=True)
    assert len(document["tree"][0]["children"]) == 51
    assert "  … and 10 more owners with 10 tasks\n" in to_text(document)
    many = [group(1, site=f"{CWD}/a.py:{number}") for number in range(15)]
    assert "… and 5 more groups" in to_text(to_json(made(*many), tree=True))


STACK = (
    ChainFrame("reserve", f"{CWD}/shop/stock.py", 41),
    ChainFrame("… 900 frames left out", "", 0),
    ChainFrame("Queue.get", "/usr/lib/python3.11/asyncio/queues.py", 158),
)


def test_stacks_are_one_block_per_task() -> None:
    """Each shown task has its name, state, age, owner, chain, wait and origin."""
    shown = Member("Task-7", 130.0, "4bf9", "task 'Task-1'", str(QUEUE), STACK)
    text = to_text(to_json(made(group(5, examples=(shown,)))))
    assert text.splitlines() == [
        "5 tasks in 1 group, process 4711",
        "",
        "task 'Task-7' [waiting, 2m]  owner request POST /orders  trace 4bf9",
        "    reserve  shop/stock.py:41",
        "    … 900 frames left out",
        "    Queue.get  /usr/lib/python3.11/asyncio/queues.py:158",
        "  blocked on  queue get (0 items, 3 getters) at shop/stock.py:41",
        "  cancelled by  task 'Task-1'",
        "  spawned at  shop/orders.py:88 in create_order",
        "",
        "… and 4 more like it",
    ]
    document = to_json(made(group(5, examples=(shown,))))
    assert document["groups"][0]["stack"][1] == {
        "function": "… 900 frames left out",
        "file": "",
        "line": 0,
    }


def test_stacks_of_tasks_about_which_little_is_known() -> None:
    """Without site, age or owner the block is shorter, not broken."""
    unknown = Member("Task-1", None, None, None, None, ())
    bare = group(1, site=None, owner_path=(), kind="", definition="", examples=(unknown,))
    assert to_text(to_json(made(bare))).splitlines()[2:] == ["task 'Task-1' [waiting]  owner -"]
    two = group(4, site=None, examples=(unknown, unknown))
    text = to_text(to_json(made(two)))
    assert "  defined at  shop/stock.py:30" in text
    assert text.endswith("… and 2 more like these\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "<1s"), (59, "59s"), (600, "10m"), (7200, "2h"), (200_000, "2d")]
)
def test_ages_are_short(seconds: float, text: str) -> None:
    """One number and one letter are enough to see what is old."""
    shown = to_text(to_json(made(group(age_min_s=seconds, age_max_s=seconds))), width=200)
    assert f"  {text}  " in shown


async def test_document_takes_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin plane's document is a snapshot of now, with stacks and tree when asked."""
    monkeypatch.setattr(taking, "installed_loops", list)
    assert dump.document()["tasks"] == 0
    assert dump.document(stacks=True, tree=True)["tree"] == []
