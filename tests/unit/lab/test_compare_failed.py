"""The verdict about a fault that takes others with it: failed requests, and the way back."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from made_up_comparison import SCENARIO, run, scenario

from backstay.lab.compare import Comparison, VariantRun, conclude
from backstay.lab.load import SecondRecord
from backstay.lab.report import page, picture, to_text
from backstay.lab.scenario import Scenario

FAULT = (12, 40)  # seconds of load
ALL = 60


def plan(**changes: object) -> Scenario:
    """Return a scenario with one fault that ends, judged by what fails."""
    base = scenario(SCENARIO)
    thresholds = replace(base.thresholds, judged=("failed", "recovery"), root_cause=None)
    fault = replace(
        base.faults[0], at_s=FAULT[0], until_s=FAULT[1], signal="stop", body={}, reset=None
    )
    built = replace(base, faults=(fault,), thresholds=thresholds)
    return replace(built, **changes)  # type: ignore[arg-type]


def seconds(share: float, back_after: int) -> tuple[SecondRecord, ...]:
    """Return a run in which a share fails from the fault until some seconds after it."""
    found: list[SecondRecord] = []
    for second in range(ALL):
        failed = round(100 * share) if FAULT[0] <= second < FAULT[1] + back_after else 0
        found.append(SecondRecord(second, 100, 100, 100 - failed, failed, 0.01, 0.02, 3))
    return tuple(found)


def judged(
    naive: float, governed: float, back_after: int = 3, what: Scenario | None = None
) -> Comparison:
    """Return the comparison of two runs in which such shares fail."""
    what = what or plan()
    runs: list[VariantRun] = [
        run("naive", seconds=seconds(naive, 5)),
        run("governed", seconds=seconds(governed, back_after)),
    ]
    return conclude(what, runs, what.variants)


@pytest.mark.parametrize(
    ("naive", "governed", "back_after", "verdict"),
    [
        (1.0, 0.05, 3, "PASS"),
        (1.0, 0.10, 3, "PASS"),
        (1.0, 0.11, 3, "FAIL"),
        (1.0, 1.0, 3, "FAIL"),
        (1.0, 0.0, 0, "PASS"),
        (0.1, 0.0, 3, "INCONCLUSIVE"),
        (1.0, 0.05, 6, "FAIL"),
        (1.0, 0.05, 30, "FAIL"),
    ],
)
def test_nine_tenths_fewer_failures_and_back_in_time(
    naive: float, governed: float, back_after: int, verdict: str
) -> None:
    """A variant that hardly failed proves nothing; one that does not come back fails."""
    found = judged(naive, governed, back_after)
    assert found.verdict == verdict, found.reasons


def test_figures_are_read_from_the_seconds() -> None:
    """The share counts while the fault lasts, and the way back from its end."""
    found = judged(0.8, 0.04)
    naive, governed = found.results["naive"], found.results["governed"]
    assert (naive.failed_share, governed.failed_share) == (0.8, 0.04)
    assert (naive.recovered_s, governed.recovered_s) == (5, 3)
    document = governed.to_json()
    assert document["fault"] == {"failed_share": 0.04, "recovered_s": 3}
    never = judged(1.0, 0.05, 30).results["governed"]
    assert never.recovered_s == inf
    assert never.to_json()["fault"] == {"failed_share": 0.05, "recovered_s": "never"}


def test_a_fault_that_never_ends_says_nothing_about_the_way_back() -> None:
    """Nor is anything said without a fault."""
    endless = plan(faults=(replace(plan().faults[0], until_s=None),))
    found = judged(1.0, 0.05, what=endless)
    assert found.verdict == "INCONCLUSIVE"
    assert any("set until_s" in reason for reason in found.reasons)
    cards = page(found).partition("What happened")[0]
    assert '<div class="big">–</div>' in cards, "not known, and not at once"
    quiet = judged(1.0, 0.05, what=plan(faults=()))
    assert quiet.results["naive"].failed_share is None
    assert any("no request ended while a fault lasted" in reason for reason in quiet.reasons)


def test_the_reports_show_what_is_judged(tmp_path: object) -> None:
    """Failed requests and the way back stand in front, in the page, the text and the picture."""
    found = judged(0.8, 0.04)
    html = page(found)
    assert "Fewer failed requests" in html
    assert "Fewer tasks at the peak" not in html.partition("The figures")[0]
    assert "Back to normal after" in html
    assert "<code>SIGSTOP</code>" in html
    assert "20.0× fewer failed requests" in picture(found)
    from pathlib import Path

    text = to_text(found, out=Path("out"))
    assert "Failed under the fault" in text
    assert "95.0% fewer failed requests under the fault (80.0% → 4.0%)" in text
