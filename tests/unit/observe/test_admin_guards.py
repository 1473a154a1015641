"""The document and the table of the guards."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from backstay.errors import LimitError
from backstay.guard import Breaker, Bulkhead, Guard, KeyedRate, Policy, Rate
from backstay.observe.admin import guards_to_text
from backstay.observe.readings import GuardTable, _guard_table
from backstay.tasks import install, installed_loops

pytestmark = pytest.mark.real_loop


@pytest.fixture(autouse=True)
def _only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests leave loops and guards behind until they are collected."""
    loops = set(map(id, installed_loops()))
    theirs = set(map(id, _guard_table.guards()))
    every, all_loops = _guard_table.guards, installed_loops
    monkeypatch.setattr(
        _guard_table, "guards", lambda: tuple(one for one in every() if id(one) not in theirs)
    )
    monkeypatch.setattr(
        _guard_table,
        "installed_loops",
        lambda: [loop for loop in all_loops() if id(loop) not in loops],
    )


@dataclass(frozen=True)
class OddStatistics:
    name: str
    error: str
    most: float
    why: dict[str, int]


class Odd(Guard):
    """A guard as an extension might write it."""

    kind = "odd"

    def statistics(self) -> object:
        if self.name == "broken":
            raise RuntimeError("odd")
        return OddStatistics(
            self.name, "redis://user:secret@host", float("inf"), {f"r{n}": n for n in range(99)}
        )


def rows(document: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in document["guards"]}


async def ask(table: GuardTable) -> Any:
    """As the plane's thread does."""
    return await asyncio.to_thread(table.document)


async def test_every_guard_tells_how_it_is() -> None:
    """Kind, mode, state and figures, also of the parts of a policy; as JSON."""
    install()
    breaker = Breaker("bank", mode="shadow")
    breaker.force_open("drill")
    bulkhead = Bulkhead(1, name="seats")
    rate = Rate(10, name="mails")
    policy = Policy("orders", bulkhead=Bulkhead(3, name="places"))
    async with bulkhead:
        document = await ask(GuardTable())
    found = rows(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert [found[one.name]["kind"] for one in (breaker, bulkhead, rate, policy)] == [
        "breaker",
        "bulkhead",
        "rate",
        "policy",
    ]
    assert (found["bank"]["mode"], found["bank"]["state"]) == ("shadow", "forced_open")
    assert (found["seats"]["state"], found["seats"]["statistics"]["in_flight"]) == ("full", 1)
    assert found["mails"]["state"] == ""
    assert found["mails"]["statistics"]["wait"]["count"] == 0
    assert "buckets" not in found["mails"]["statistics"]["wait"]
    assert found["orders"]["age_s"] < 5


async def test_its_own_loop_reads_a_guard() -> None:
    """A reading turns windows, which two threads must not do at once."""
    install()
    readers: list[int] = []

    class Watched(Odd):
        def statistics(self) -> object:
            readers.append(threading.get_ident())
            return super().statistics()

    kept = [Watched(f"w{n}") for n in range(60)]
    await ask(GuardTable())
    assert readers == [threading.get_ident()] * len(kept)


async def test_each_loop_reads_the_guards_that_live_in_it() -> None:
    """One where somebody waits is read there; what has not settled is read by the first loop."""
    install()
    readers: dict[str, int] = {}

    class Watched(Bulkhead):
        def statistics(self) -> Any:
            readers[self.name] = threading.get_ident()
            return super().statistics()

    theirs, free = Watched(1, name="theirs"), Watched(1, name="free")
    ready, over = threading.Event(), threading.Event()

    async def wait_there() -> None:
        install()
        async with theirs:
            waiting = asyncio.create_task(theirs.acquire())
            await asyncio.sleep(0)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.001)
            waiting.cancel()

    thread = threading.Thread(target=asyncio.run, args=(wait_there(),))
    thread.start()
    await asyncio.to_thread(ready.wait, 10)
    found = rows(await ask(GuardTable()))
    over.set()
    await asyncio.to_thread(thread.join, 10)
    assert readers == {"theirs": thread.ident, free.name: threading.get_ident()}
    assert found["theirs"]["statistics"]["queued"] == 1


async def test_a_closed_loop_is_not_waited_for() -> None:
    """It may close between the look at the loops and the question."""
    loop = asyncio.new_event_loop()
    loop.close()
    question = _guard_table._Question(GuardTable(), loop, [])
    question.send()
    assert question.answered.is_set()


async def test_nothing_that_others_wrote_is_shown() -> None:
    """Keys of callers, messages of errors and names that would steer a terminal stay inside."""
    install()
    keyed = KeyedRate(5, name="by token")
    keyed.try_acquire("secret-token")
    odd = Odd("evil\x1b[2J\n" + "x" * 500)
    text = json.dumps(document := await ask(GuardTable()))
    assert "secret" not in text
    assert "\\u001b" not in text
    shown = rows(document)
    assert shown["by token"]["statistics"]["keys"] == 1
    (row,) = [one for one in shown.values() if one["kind"] == odd.kind]
    assert len(row["name"]) == 200
    assert row["statistics"]["most"] is None
    assert len(row["statistics"]["why"]) == 32


async def test_a_guard_that_fails_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is listed without figures."""
    install()
    kept = Odd("broken"), Rate(1, name="fine")
    found = rows(await ask(GuardTable()))
    assert len(kept) == len(found)
    assert (found["broken"]["statistics"], found["broken"]["age_s"]) == (None, None)
    assert found["fine"]["statistics"]["burst"] == 1
    assert "could not tell its statistics" in caplog.text


async def test_a_blocked_loop_is_shown_as_it_was() -> None:
    """The last reading with its age; mode, refusals and state are of now, and no question piles up."""
    install()
    table = GuardTable()
    breaker = Breaker("bank")
    await ask(table)
    young = Rate(1, name="young")
    breaker.force_open("drill")
    answers: list[Any] = []

    def look() -> None:
        answers.extend(table.document() for _ in range(2))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()  # and so this loop is blocked
    for found in map(rows, answers):
        assert found["bank"]["state"] == "forced_open"
        assert found["bank"]["statistics"]["state"] == "closed"
        assert found["young"]["statistics"] is None
    assert len(table._questions) == 1
    assert rows(await ask(table))["bank"]["statistics"]["state"] == "forced_open"
    assert young.name == "young"


def test_without_a_loop_and_without_guards() -> None:
    """A program that has not begun, or runs no loop at present."""
    assert GuardTable().document()["guards"] == []
    kept = Rate(3, name="early")
    assert rows(GuardTable().document())["early"]["statistics"]["rate"] == 3
    assert kept.name == "early"


def test_the_document_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have refused most are shown, and the number of the others."""
    monkeypatch.setattr(_guard_table, "MOST_GUARDS", 2)
    kept = [Rate(1, name=name) for name in "abcd"]
    for one in kept[1::2]:
        with pytest.raises(LimitError):
            one.refuse(LimitError("no", policy=one.name))
    document: dict[str, Any] = GuardTable().document()
    assert (list(rows(document)), document["left_out"]) == (["b", "d"], 2)
    assert "4 guards, process" in guards_to_text(document)
    assert "… and 2 more that have refused less" in guards_to_text(document)


def row(name: str, **changed: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "breaker",
        "mode": "enforce",
        "state": "open",
        "rejected": 1234,
        "age_s": 0.0,
        "statistics": {
            "state": "open",
            "calls": 20,
            "failed": 0,
            "usual_s": 0.0125,
            "why": {"full": 3, "late": 0},
            "wait": {"count": 2, "total_s": 1.0, "longest_s": 0.9, "p50_s": 0.1, "p99_s": 0.9},
            "idle": {"count": 0, "total_s": 0.0, "longest_s": 0.0, "p50_s": 0.0, "p99_s": 0.0},
        },
        **changed,
    }


@pytest.mark.parametrize("width", [120, 60])
def test_the_table_of_guards(width: int) -> None:
    """One line a guard where there is room, figures below it where there is none."""
    guards = [
        row("bank"),
        row("mails", state="", age_s=12.4, statistics=None),
        row("x", age_s=None),
    ]
    text = guards_to_text({"pid": 7, "guards": guards, "left_out": 0}, width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0] == "3 guards, process 7"
    assert lines[2].split()[:6] == ["KIND", "NAME", "MODE", "STATE", "REFUSED", "SEEN"]
    assert lines[3].startswith("breaker  bank   enforce  open   1,234    now")
    assert "enforce  -      1,234    12s ago" in text
    assert "never" in text
    flat = " ".join(text.split())
    assert "calls 20, usual_s 0.0125, why (full 3), wait (2× p50" in flat
    assert "failed" not in flat
    assert "idle" not in flat


def test_no_guards_at_all() -> None:
    """Said in words."""
    text = guards_to_text({"pid": 7, "guards": [], "left_out": 0})
    assert text == "no guards in process 7\n"
