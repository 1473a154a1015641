"""From two documents to rates: births, ends, percentiles, refusals."""

from __future__ import annotations

import json
import threading

import pytest
import top_documents as make

from backstay.errors import UsageError
from backstay.observe.top import Looker, compare


def test_the_first_look_has_no_rates() -> None:
    """There is nothing to compare with; what is known at once is there."""
    told = make.top(5.0, [make.group("app.py:9", 10, 10)])
    figures = compare(None, told, make.guards(), [])
    assert figures.span_s is None
    assert (figures.born_per_s, figures.ended_per_s, figures.cpu) == (None, None, None)
    (row,) = figures.groups
    assert (row.alive, row.born_per_s, row.ended_per_s, row.grows_per_s) == (10, None, None, 0)
    assert figures.loops[0].free is None
    assert figures.gc_per_s == ()


def test_births_and_ends_are_differences() -> None:
    """Born is what was seen for the first time; ended is who is missing, though others were born."""
    first = compare(None, make.top(5.0, [make.group("a.py:1", 10, 100)]), make.guards(), [])
    told = make.top(7.0, [make.group("a.py:1", 12, 106), make.group("b.py:2", 4, 4)])
    figures = compare(first, told, make.guards(), [])
    assert figures.span_s == 2.0
    rows = {row.site: row for row in figures.groups}
    assert (rows["a.py:1"].born_per_s, rows["a.py:1"].ended_per_s) == (3.0, 2.0)
    assert rows["a.py:1"].grows_per_s == 1.0
    assert (rows["b.py:2"].born_per_s, rows["b.py:2"].ended_per_s) == (2.0, 0.0)
    assert (figures.born_per_s, figures.ended_per_s) == (5.0, 2.0)
    assert figures.cpu == pytest.approx(0.1)
    assert figures.gc_per_s == (10.0, 10.0, 10.0)


def test_a_row_that_moves_to_the_others_does_no_harm() -> None:
    """Its count goes with it: nobody is born by that, and no rate is negative."""
    rows = [make.group("a.py:1", 10, 100), make.group("other", 5, 50)]
    first = compare(None, make.top(5.0, rows), make.guards(), [])
    rows = [make.group("b.py:1", 30, 30), make.group("other", 15, 150)]
    figures = compare(first, make.top(6.0, rows), make.guards(), [])
    assert figures.born_per_s == 30.0
    assert all((row.born_per_s or 0) >= 0 and (row.ended_per_s or 0) >= 0 for row in figures.groups)


@pytest.mark.parametrize("other", [{"pid": 4712}, {"started_at": 1100.0}])
def test_another_process_is_not_compared_with(other: dict[str, float]) -> None:
    """It has another pid, or the same and another start; that a start is told to hundredths is not one."""
    first = compare(None, make.top(50.0, []), make.guards(), [])
    figures = compare(first, make.top(6.0, [], **other), make.guards(), [])
    assert figures.restarted
    assert figures.span_s is None
    same = compare(first, make.top(51.0, [], started_at=1000.02), make.guards(), [])
    assert not same.restarted
    unknown = compare(first, make.top(51.0, [], started_at=None), make.guards(), [])
    assert not unknown.restarted


def test_percentiles_are_of_the_time_between() -> None:
    """What was long before does not count; a loop that the recorder has just met counts from none."""
    before = make.steps(1000, {30: 1000}, {30: 1000}, 100.0)
    first = compare(None, make.top(5.0, [], loops=[make.loop(steps=before)]), make.guards(), [])
    after = make.steps(1100, {30: 1000, 10: 98, 20: 2}, {30: 1000, 12: 100}, 100.5)
    told = make.top(7.0, [], loops=[make.loop(steps=after), make.loop("1", steps=after)])
    known, new = compare(first, told, make.guards(), []).loops
    assert known.steps_per_s == 50.0
    assert known.ready_p50_s == pytest.approx(2**11 / 1e9)
    assert known.ready_p99_s == pytest.approx(2**21 / 1e9)
    assert known.step_p99_s == pytest.approx(2**13 / 1e9)
    assert known.free == 0.75
    assert new.steps_per_s == 550.0
    idle = compare(
        compare(first, told, make.guards(), []), {**told, "at_s": 9.0}, make.guards(), []
    )
    assert idle.loops[0].ready_p50_s is None
    assert idle.loops[0].free == 1.0
    again = make.steps(5, {3: 5}, {3: 5}, 0.0)
    restarted = compare(first, make.top(7.0, [], loops=[make.loop(steps=again)]), make.guards(), [])
    assert restarted.loops[0].steps_per_s == 2.5


def test_guards_are_told_when_they_are_tight() -> None:
    """Full, refusing, or with callers in line; those that let all through are a number."""
    first = compare(
        None,
        make.top(5.0, []),
        make.guards(make.guard("bank", "free", 3), make.guard("bank", "free", 100)),
        [],
    )
    told = make.guards(
        make.guard("bank", "free", 3),
        make.guard("bank", "free", 120),  # another one of that name
        make.guard("full", "full", 0, limit=20, in_flight=20, queued=7),
        make.guard("line", "free", 0, limit=5, running=3, waiting=2),
        make.guard("idle", "free", 0, limit=5, running=3),
        left_out=10,
    )
    figures = compare(first, make.top(7.0, []), told, [])
    assert figures.guards_in_all == 15
    rows = {row.name: row for row in figures.guards}
    assert set(rows) == {"bank", "full", "line"}
    assert (rows["bank"].rejected, rows["bank"].rejected_per_s) == (120, 10.0)
    assert (rows["full"].used, rows["full"].room, rows["full"].waiting) == (20, 20, 7)
    assert rows["full"].rejected_per_s == 0
    assert (rows["line"].used, rows["line"].room, rows["line"].waiting) == (3, 5, 2)


def test_verdicts_meet_their_rows() -> None:
    """By the site; the worst of several counts."""
    found = [make.finding("a.py:1", "LEAKED"), make.finding("a.py:1"), make.finding("gone.py:3")]
    figures = compare(None, make.top(5.0, [make.group("a.py:1", 1, 1)]), make.guards(), found)
    assert figures.groups[0].verdict == "LEAKED"
    assert [one.verdict for one in figures.leaks] == ["LEAKED", "ORPHAN", "ORPHAN"]


def test_the_document_is_json() -> None:
    """For --json: totals, rates and rows, and no documents within."""
    figures = compare(None, make.top(5.0, [make.group("a.py:1", 1, 1)]), make.guards(), [])
    told = json.loads(json.dumps(figures.to_json()))
    assert told["format"] == 1
    assert told["groups"][0]["site"] == "a.py:1"
    assert {"told", "guards_told"}.isdisjoint(told)


def test_leaks_are_asked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each report looks at all tasks by itself; in between the last one counts."""
    at = [0.0]
    monkeypatch.setattr("backstay.observe.top._looks.now", lambda: at[0])
    process = make.Process()
    process.findings = [make.finding("app.py:9")]
    looker = Looker(process)
    for _ in range(5):
        assert looker.look().figures.groups[0].verdict == "ORPHAN"
        at[0] += 1.0
    assert process.asked.count("/v1/leaks") == 1
    at[0] += 5.0
    process.findings = []
    looker.look()
    for thread in threading.enumerate():
        if thread.name == "backstay-top-leaks":
            thread.join(10)
    assert process.asked.count("/v1/leaks") == 2
    assert looker.look().figures.leaks == ()


def test_the_tasks_of_a_site_come_along() -> None:
    """Its name is quoted; None when they have ended, and when nobody asks."""
    process = make.Process()
    looker = Looker(process)
    assert looker.look().detail is None
    assert looker.look("a b&c.py:1").detail is None
    assert process.asked[-1] == "/v1/top?site=a%20b%26c.py%3A1"
    process.details = {"site": "app.py:9"}
    look = looker.look("app.py:9")
    assert (look.site, look.detail) == ("app.py:9", {"site": "app.py:9"})


def test_a_document_of_another_version_is_one_sentence() -> None:
    """And no traceback; the next look begins anew."""
    process = make.Process()
    looker = Looker(process)
    looker.look()
    process.groups = [{"site": "a.py:1", "alive": 1, "seen": 1}]
    with pytest.raises(UsageError, match="use the backstay that it runs with"):
        looker.look()
    process.groups = [make.group("a.py:1", 1, 1)]
    assert looker.look().figures.span_s is None


def test_rates_are_of_a_second_at_least() -> None:
    """However often somebody looks: births are stamped to a second. A new process begins anew."""
    process = make.Process()
    looker = Looker(process)
    spans: list[float | None] = []
    for _ in range(10):
        process.at -= 0.75  # each look is a quarter of a second after the last
        spans.append(looker.look().figures.span_s)
    assert spans == [None, 0.25, 0.5, 0.75, *[1.0] * 6]
    process.at += 4.0
    assert looker.look().figures.span_s == 5.0
    process.at = -100.0
    process.pid = 4712
    assert looker.look().figures.restarted
    assert looker.look().figures.span_s == 1.0
