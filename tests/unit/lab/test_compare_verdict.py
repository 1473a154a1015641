"""The verdict: PASS, FAIL or INCONCLUSIVE, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up_comparison import comparison, load_result, run, scenario

from backstay.lab.compare import (
    Check,
    Comparison,
    Sample,
    SourceLine,
    VariantRun,
    conclude,
    judge,
    ratio,
    verdict_of,
)
from backstay.lab.scenario import Thresholds


def status(found: Comparison, name: str) -> str:
    """Return the status of the check called `name`."""
    return next(check.status for check in found.checks if check.name == name)


def test_good_figures_pass() -> None:
    """With every threshold kept the verdict is PASS, and each reason is a sentence with figures."""
    found = comparison()
    assert found.verdict == "PASS"
    assert {check.status for check in found.checks} == {"met", "goal met"}
    assert any("fewer tasks at the peak" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("p99", "verdict", "goal"),
    [(0.121, "PASS", "goal met"), (0.2, "PASS", "goal missed"), (0.3, "FAIL", "goal missed")],
)
def test_ten_times_lower_p99_is_the_least_and_22_the_goal(
    p99: float, verdict: str, goal: str
) -> None:
    """The goal is reported and does not decide; the least that counts does."""
    found = comparison(run("naive"), run("governed", load=load_result(p99=p99)))
    assert found.verdict == verdict
    assert status(found, "p99 goal") == goal


def test_a_late_generator_proves_nothing() -> None:
    """When the generator itself was late, neither success nor failure is claimed."""
    late = load_result(p99=9.0, valid=False, lag_s=0.009)
    found = comparison(run("naive"), run("governed", load=late))
    assert found.verdict == "INCONCLUSIVE"
    assert "9.0 ms late" in found.reasons[0] or "9.0 ms late" in found.reasons[1]


def test_a_lag_above_the_scenarios_limit_is_named_with_its_figure() -> None:
    """A valid run may still be too late for this scenario."""
    found = comparison(run("naive"), run("governed", load=load_result(p99=0.1, lag_s=0.008)))
    assert found.verdict == "INCONCLUSIVE"
    assert any("8.0 ms late at p99, at most 5 ms" in reason for reason in found.reasons)


def test_different_arrivals_cannot_be_compared() -> None:
    """The same seed must have given the same arrivals, or the comparison is void."""
    found = comparison(run("naive"), run("governed", load=load_result(p99=0.1, schedule="other")))
    assert found.verdict == "INCONCLUSIVE"
    assert status(found, "arrivals") == "unknown"


def test_services_that_did_not_answer_may_hide_the_peak() -> None:
    """Too many unanswered looks make the task count worthless."""
    deaf = [
        replace(sample, tasks_by_service={}) if index % 2 else sample
        for index, sample in enumerate(run("naive").samples)
    ]
    found = comparison(run("naive", samples=tuple(deaf)), run("governed"))
    assert status(found, "sampling") == "unknown"


def test_growing_memory_fails() -> None:
    """A governed variant whose memory grows by more than 2 %/min fails."""
    swollen = run("governed", samples=run("naive").samples)
    found = comparison(run("naive"), swollen)
    assert found.verdict == "FAIL"
    assert status(found, "memory") == "missed"


def test_memory_without_samples_is_unknown() -> None:
    """No samples under the fault means that nothing is known of its growth."""
    found = comparison(run("naive"), run("governed", samples=()))
    assert found.verdict == "INCONCLUSIVE"
    assert status(found, "memory") == "unknown"


@pytest.mark.parametrize(
    ("share", "requests", "expected"),
    [(0.9991, 20_000, "met"), (0.998, 20_000, "missed"), (1.0, 400, "unknown")],
)
def test_requests_outside_the_fault_must_succeed(
    share: float, requests: int, expected: str
) -> None:
    """99.9 % is asked of them, and a few hundred requests cannot show it."""
    load = load_result(p99=0.1, unaffected=share, unaffected_requests=requests)
    assert status(comparison(run("naive"), run("governed", load=load)), "unaffected") == expected


def test_almost_all_never_reads_as_all() -> None:
    """99.9996 % is cut and not rounded up to 100 %."""
    load = load_result(p99=0.1, unaffected=0.999_996, unaffected_requests=1_000_000)
    found = comparison(run("naive"), run("governed", load=load))
    assert any("99.999 %" in reason for reason in found.reasons)


def test_a_leak_that_is_not_named_fails() -> None:
    """The root cause was asked for, so silence is a failure."""
    found = comparison(run("naive", root_causes=()), run("governed"))
    assert found.verdict == "FAIL"
    assert status(found, "root cause") == "missed"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (SourceLine(((1, "x"),), 1, True), "met"),
        (SourceLine(((1, "x"),), 1, None), "met"),
        (SourceLine(((1, "x"),), 1, False), "missed"),
        (None, "missed"),
    ],
)
def test_the_named_line_must_be_the_guilty_one(source: SourceLine | None, expected: str) -> None:
    """Where the source marks the leak, naming another line is a miss."""
    cause = replace(run("naive").root_causes[0], source=source)
    found = comparison(run("naive", root_causes=(cause,)), run("governed"))
    assert status(found, "root cause") == expected


def test_a_governed_variant_that_falls_under_load_fails() -> None:
    """Falling is the candidate's own fault, whatever else is unknown because of it."""
    fallen = run("governed", failures=("governed: order ended by itself",), fell=True)
    found = comparison(run("naive"), replace(fallen, load=None))
    assert found.verdict == "FAIL"
    assert found.results.keys() == {"naive"}


def test_a_baseline_that_falls_is_inconclusive() -> None:
    """Without figures to beat nothing is concluded."""
    fallen = replace(run("naive"), load=None, failures=("naive: order ended",), fell=True)
    found = comparison(fallen)
    assert found.verdict == "INCONCLUSIVE"
    assert found.reasons == ["naive: order ended"]


def test_a_process_that_does_not_stop_in_order_fails() -> None:
    """A governed service that has to be killed has missed its exit."""
    found = comparison(
        run("naive"), run("governed", unclean_exits=("governed: order did not stop",))
    )
    assert found.verdict == "FAIL"
    assert found.reasons[0] == "governed: order did not stop"


def test_one_variant_alone_is_inconclusive() -> None:
    """There is nothing to compare it with."""
    plan = scenario()
    found = conclude(plan, [run("governed")], [plan.variant("governed")])
    assert found.verdict == "INCONCLUSIVE"
    assert "only one variant" in found.reasons[0]


def test_nothing_at_all_is_inconclusive() -> None:
    """No checks, no claim."""
    assert verdict_of([]) == "INCONCLUSIVE"
    assert judge(Thresholds(), None, None, [])[0].status == "unknown"
    assert verdict_of([Check("a", "met", ""), Check("b", "goal missed", "")]) == "PASS"


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(10, 2, 5), (0, 0, 1), (3, 0, float("inf"))]
)
def test_ratios_survive_zero(before: float, after: float, expected: float) -> None:
    """Nothing against nothing is even; something against nothing is without bound."""
    assert ratio(before, after) == expected


def test_the_result_document_has_the_promised_shape() -> None:
    """The listed keys of result.json are there, whatever else is."""
    document = comparison().to_json()
    assert list(document)[:8] == [
        "scenario", "seed", "offered_rps", "duration_s", "variants", "root_cause", "verdict", "reasons",
    ]  # fmt: skip
    naive = document["variants"]["naive"]  # type: ignore[index]
    assert naive["latency_ms"].keys() == {"p50", "p90", "p99"}
    assert naive["requests"] == 26_000


def test_a_sample_with_a_silent_service_has_no_sum() -> None:
    """A sum without one of the services would flatter."""
    sample = Sample(0.0, {"a": 1}, {"a": 5, "b": 6}, 2)
    assert sample.tasks is None
    assert sample.rss == 11


def test_a_run_that_broke_off_has_no_figures() -> None:
    """Its samples are kept for the curves, and judged they are not."""
    broken: VariantRun = replace(run("naive"), load=None, failures=("x",))
    assert comparison(broken).results == {}
