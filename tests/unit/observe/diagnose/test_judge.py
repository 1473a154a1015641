"""What a diagnosis accuses, in which order, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_documents import BEGIN, END, block, finding, group, guard, look, report

from backstay.observe.diagnose import Look, judge


def verdicts(*arguments: Any) -> list[str]:
    return [cause.verdict for cause in judge(*arguments).causes]


@given(
    before=st.integers(0, 10_000),
    after=st.integers(0, 100_000),
    rss=st.integers(0, 10**12),
    tasks=st.integers(0, 10**6),
)
def test_a_swing_of_the_load_accuses_nobody(before: int, after: int, rss: int, tasks: int) -> None:
    """More tasks, more memory: shown with their sites, and no finding."""
    made = judge(
        look(groups=[group("app.py:5", before)]),
        look(END, groups=[group("app.py:5", after)], rss_bytes=rss, tasks=tasks),
        [report()],
    )
    assert made.causes == ()
    assert (made.moves[0].site, made.moves[0].change) == ("app.py:5", after - before)


@given(
    st.lists(
        st.builds(
            finding,
            st.sampled_from(["GROWING", "LEAKED", "STUCK", "LOST", "ORPHAN", "OVERDUE", "NEW"]),
            st.sampled_from(["a.py:1", "b.py:2", "c.py:3"]),
            impact=st.floats(0, 1e9),
            count=st.integers(0, 10**6),
        )
    ),
    st.lists(st.builds(block, st.floats(0, 100), st.floats(BEGIN - 1000, END))),
    st.lists(
        st.builds(
            guard,
            st.sampled_from(["pool", "breaker", "rate"]),
            state=st.sampled_from(["full", "open", "free", ""]),
            rejected=st.integers(0, 10**6),
        )
    ),
)
def test_the_worst_comes_first(
    findings: list[dict[str, Any]], blocks: list[dict[str, Any]], guards: list[dict[str, Any]]
) -> None:
    """Whatever is found: scores from 0 to 100, falling, a site accused once, and plain JSON."""
    after = look(END, guards=guards, blocked={"recent": blocks, "now": None})
    made = judge(look(), after, [report(*findings)])
    scores = [cause.score for cause in made.causes]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 100 for score in scores)
    leaks = [cause.site for cause in made.causes if cause.kind == "leak"]
    assert sorted(leaks) == sorted({one["site"] for one in findings})
    assert json.loads(json.dumps(made.to_json(), allow_nan=False))["format"] == 1


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_harm_never_ranks_lower(one: float, more: float) -> None:
    """Of two growing sites the one that holds more tasks in an hour is first."""
    low, high = sorted((one, more))
    found = report(
        finding("GROWING", "low.py:1", count=0, impact=low),
        finding("GROWING", "high.py:1", count=0, impact=high),
    )
    causes = judge(look(), look(END), [found]).causes
    scores = {cause.site: cause.score for cause in causes}
    assert scores["high.py:1"] >= scores["low.py:1"]


def test_all_that_the_report_knows_is_told() -> None:
    """Line, growth, await site, holder, owner, requests, advice and the page that explains it."""
    accused = finding(
        "GROWING", impact=5_000.0, slope_per_s=1.5, held_by="the pool db", bytes_held=80_000
    )
    (cause,) = judge(look(), look(END), [report(accused)]).causes
    assert (cause.site, cause.function) == ("app.py:5", "start")
    assert (cause.count, cause.per_s, cause.bytes_held) == (40, 1.5, 80_000)
    assert (cause.blocked_on, cause.held_by) == ("event wait at app.py:9", "the pool db")
    assert (cause.owner, cause.trace_ids) == ("request GET /", ("a" * 32,))
    assert (cause.advice, cause.page) == (
        "give it a deadline",
        "docs/reference/verdicts/growing.md",
    )
    assert cause.sure == "nearly certain"
    assert cause.headline == "40 tasks started here do not end, and more keep coming"


def test_a_site_is_accused_once_by_the_weightier_of_two_reports() -> None:
    """The long history says ORPHAN, the samples of the window say GROWING: GROWING it is."""
    long, close = report(finding("ORPHAN")), report(finding("GROWING", impact=900.0))
    for reports in ([long, close], [close, long]):
        assert verdicts(look(), look(END), reports) == ["GROWING"]


def test_what_is_proved_ranks_high_even_if_there_is_one_of_it() -> None:
    """A deadlock of two tasks comes before an orphan that may be a keeper."""
    found = report(finding("ORPHAN", "a.py:1"), finding("STUCK", "b.py:2", count=2, impact=2.0))
    causes = judge(look(), look(END), [found]).causes
    assert [cause.verdict for cause in causes] == ["STUCK", "ORPHAN"]
    assert [cause.sure for cause in causes] == ["proved", "possible"]


def test_growth_that_a_proof_confirms_is_proved() -> None:
    """The site is led by GROWING, and its evidence holds the proof."""
    accused = finding("GROWING", detail=["STUCK: 42 proved, of 67 tasks asked", "GROWING: …"])
    (cause,) = judge(look(), look(END), [report(accused)]).causes
    assert (cause.verdict, cause.sure) == ("GROWING", "proved")


def test_a_leaking_line_comes_before_the_guard_that_it_fills() -> None:
    """The full pool is what one sees; the line is what one has to change."""
    full = {"state": "full", "statistics": {"max_open": 10, "in_use": 10, "waiting": 30}}
    made = judge(
        look(guards=[guard(**full)]),
        look(END, guards=[guard(**full, rejected=3_000)]),
        [report(finding("GROWING", impact=4_000.0))],
    )
    assert [cause.verdict for cause in made.causes] == ["GROWING", "FULL"]
    assert made.causes[1].blocked_on == "30 callers in line"
    assert "10 of 10 places taken" in made.causes[1].evidence


@pytest.mark.parametrize(
    ("row", "earlier", "verdict"),
    [
        (guard("breaker", state="open"), guard("breaker"), "OPEN"),
        (guard("bulkhead", rejected=5), guard("bulkhead"), "REFUSING"),
        (guard("bulkhead", rejected=4), guard("bulkhead"), None),
        (guard("rate", rejected=900), guard("rate"), None),
        (guard("policy", rejected=900), guard("policy"), None),
        (guard(state="full", rejected=1), guard(state="full"), "FULL"),
        (guard(state="full"), guard(state="full"), None),
        (guard(state="full", rejected=1), guard(), None),
        (guard("admission", rejected=50), guard("admission", rejected=50), None),
    ],
)
def test_which_guards_are_worth_a_word(
    row: dict[str, Any], earlier: dict[str, Any], verdict: str | None
) -> None:
    """Open, full at both ends with somebody turned away or in line, or refusing within the window."""
    found = verdicts(look(guards=[earlier]), look(END, guards=[row]))
    assert found == ([] if verdict is None else [verdict])


def test_a_guard_in_shadow_would_have_refused() -> None:
    """It turned nobody away, so it weighs less, and says so."""
    after = look(END, guards=[guard("bulkhead", mode="shadow", rejected=500)])
    (cause,) = judge(look(), after).causes
    assert cause.headline == "the bulkhead db would have refused 500 calls"
    assert cause.sure == "possible"


def test_a_block_is_named_with_function_line_task_and_request() -> None:
    """All blocks by a line are one finding, the longest leads."""
    blocks = [block(0.4), block(5.0, BEGIN + 10, stack=["render at app.py:20", "main at app.py:2"])]
    (cause,) = judge(look(), look(END, blocked={"recent": blocks, "now": None})).causes
    assert (cause.kind, cause.site, cause.function) == ("blocked loop", "app.py:20", "render")
    assert cause.headline == "the loop was blocked for up to 5.0 s by render()"
    assert (cause.count, cause.trace_ids, cause.owner) == (2, ("b" * 32,), "request GET /")
    assert cause.evidence[0].startswith("2 times within 30 s, 5.4 s in all")
    assert cause.evidence[1:] == (
        "in the task Task-3",
        "called by render at app.py:20 < main at app.py:2",
    )
    assert cause.score > 80


def test_a_block_that_lasts_is_told_as_such() -> None:
    """It is not over yet, and began before the window."""
    lasting = block(40.0, BEGIN - 10, ended=False)
    (cause,) = judge(look(), look(END, blocked={"recent": [], "now": lasting})).causes
    assert cause.headline == "the loop is blocked right now for 40.0 s by render()"
    assert cause.sure == "proved"


@pytest.mark.parametrize(
    ("blocks", "accused"),
    [
        ([block(0.2)], False),
        ([block(0.2, BEGIN + at) for at in range(8)], True),
        ([block(0.5)], True),
        ([block(0.9, BEGIN - 100)], False),
        ([block(3.0, BEGIN - 100)], True),
        ([block(3.0, BEGIN - 600)], False),
    ],
)
def test_which_blocks_are_worth_a_word(blocks: list[dict[str, Any]], accused: bool) -> None:
    """Half a second in one piece, a twentieth of the window in many, or a long one minutes ago."""
    found = verdicts(look(), look(END, blocked={"recent": blocks, "now": None}))
    assert bool(found) is accused


def test_what_could_not_be_judged_is_told() -> None:
    """A short window, a refused proof, loops that nobody watches, a restart, groups left out."""
    before, after = look(uptime_s=500.0), look(END, uptime_s=3.0)
    after = Look(
        {**after.tasks, "groups_left_out": 3}, {**after.statistics, "blocked": None}, {}, {}
    )
    reports = [report(growth="2 samples"), report(growth="9 samples", proof="refused: too many")]
    doubts = judge(before, after, reports).doubts
    assert [doubt.partition(":")[0].partition(" in ")[0] for doubt in doubts] == [
        "growth could not be judged",
        "no proof",
        "nobody watches the loops for blocks",
        "the process was restarted within the window",
        "3 smaller groups of tasks were left out",
    ]


def test_a_mute_target_is_no_error() -> None:
    """Documents of another version may lack anything."""
    made = judge(Look(), Look(), [{}])
    assert (made.causes, made.moves, made.facts, made.pid) == ((), (), (), 0)


def test_facts_and_moves_have_both_ends() -> None:
    """What has gone is told as well as what has come, with what those alive wait for."""
    made = judge(
        look(groups=[group("old.py:1", 9), group("same.py:1", 3)]),
        look(
            END,
            groups=[
                group("new.py:1", 30, trace_ids=["c" * 32]),
                group("new.py:1", 2, blocked_on=None),
                group("same.py:1", 3),
            ],
        ),
    )
    assert [(move.site, move.before, move.after) for move in made.moves] == [
        ("new.py:1", 0, 32),
        ("old.py:1", 9, 0),
        ("same.py:1", 3, 3),
    ]
    assert [move.worth_a_row for move in made.moves] == [True, True, False]
    assert made.moves[0].waits == (("event wait at app.py:9", 30), ("waiting", 2))
    assert made.moves[0].trace_ids == ("c" * 32,)
    assert {fact.name: fact.after - fact.before for fact in made.facts} == {
        "tasks": 23,
        "resident memory": 0,
    }
