"""The verdict, as arithmetic only: figures in, PASS, FAIL or INCONCLUSIVE out, with reasons.

A run that proves nothing is INCONCLUSIVE whatever its figures say, so that
neither a pass nor a failure is ever claimed from bad evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from backstay.lab.compare._records import Check, RootCause, VariantResult
from backstay.lab.scenario import Thresholds

__all__ = ["judge", "ratio", "verdict_of"]

# Below this many requests a single failure weighs more than the 0.1 % in question.
_MIN_UNAFFECTED = 1000
# Below this share of failed requests the fault has not hurt the variant that is to be beaten.
_MIN_FAILED = 0.2
# Above this share of unanswered looks the peak may have hidden between them.
_MAX_MISSED_POLLS = 0.25
Status = Literal["met", "missed", "unknown", "goal met", "goal missed"]


def ratio(before: float, after: float) -> float:
    """Return how many times smaller `after` is; infinite when it is nothing."""
    if after > 0:
        return before / after
    return float("inf") if before > 0 else 1.0


def judge(
    thresholds: Thresholds,
    baseline: VariantResult | None,
    candidate: VariantResult | None,
    root_cause: Sequence[RootCause],
    *,
    failures: Sequence[str] = (),
    candidate_failures: Sequence[str] = (),
    unclean_exits: Sequence[str] = (),
) -> tuple[Check, ...]:
    """Check a run against its thresholds.

    Args:
        thresholds: what counts as a pass.
        baseline: the variant to beat; None when it was not run or broke off.
        candidate: the variant that is to hold; None likewise.
        root_cause: the leaks found, worst first.
        failures: what broke the evidence, one line each.
        candidate_failures: processes of the candidate that ended by themselves: its own fault.
        unclean_exits: processes that had to end with code 0 and did not.

    Returns:
        The checks in the order in which people want to read them.
    """
    checks = [Check("system", "unknown", line) for line in failures]
    checks += [Check("alive", "missed", line) for line in candidate_failures]
    if baseline is None or candidate is None:
        if not checks:
            checks.append(
                Check(
                    "variants", "unknown", "only one variant was run: there is nothing to compare"
                )
            )
    else:
        checks += _fairness(thresholds, baseline, candidate)
        checks += _ratios(thresholds, baseline, candidate)
        if "failed" in thresholds.judged:
            checks.append(_failed(thresholds, baseline, candidate))
    if candidate is not None:
        checks += _alone(thresholds, candidate)
    if thresholds.root_cause is not None and baseline is not None:
        checks.append(_root_cause(thresholds, root_cause))
    checks += [Check("clean exit", "missed", line) for line in unclean_exits]
    return tuple(checks)


def verdict_of(checks: Sequence[Check]) -> Literal["PASS", "FAIL", "INCONCLUSIVE"]:
    """Return the word that the checks amount to.

    A process of the candidate that fell is a failure, whatever else is unknown
    because of it. Otherwise bad evidence comes first, and then any miss.
    """
    if any(check.name == "alive" for check in checks):
        return "FAIL"
    if not checks or any(check.status == "unknown" for check in checks):
        return "INCONCLUSIVE"
    return "FAIL" if any(check.status == "missed" for check in checks) else "PASS"


def _fairness(
    thresholds: Thresholds, baseline: VariantResult, candidate: VariantResult
) -> list[Check]:
    checks: list[Check] = []
    for result in (baseline, candidate):
        if not result.load_valid or result.lag_p99_ms > thresholds.lag_p99_max_ms:
            why = "; ".join(result.load_reasons) or (
                f"the load generator itself was {result.lag_p99_ms:.1f} ms late at p99, at most "
                f"{thresholds.lag_p99_max_ms:g} ms is trusted: use a quieter machine or a lower rate"
            )
            checks.append(Check("generator", "unknown", f"{result.name}: {why}"))
        if result.missed_polls > _MAX_MISSED_POLLS:
            checks.append(
                Check(
                    "sampling",
                    "unknown",
                    f"{result.name}: {result.missed_polls:.0%} of the looks at its services went "
                    f"unanswered, at most {_MAX_MISSED_POLLS:.0%} is trusted",
                )
            )
    if baseline.schedule != candidate.schedule:
        checks.append(
            Check(
                "arrivals",
                "unknown",
                f"arrivals differ ({baseline.schedule} and {candidate.schedule}): expected the same",
            )
        )
    return checks


def _ratios(
    thresholds: Thresholds, baseline: VariantResult, candidate: VariantResult
) -> list[Check]:
    tasks = ratio(baseline.tasks_peak, candidate.tasks_peak)
    p99 = ratio(baseline.p99_ms, candidate.p99_ms)
    goal = thresholds.p99_ratio_goal
    judged = thresholds.judged
    p99_figures = f"{p99:.1f}x lower p99 ({baseline.p99_ms:,.0f} → {candidate.p99_ms:,.0f} ms)"
    checks: list[Check] = []
    if "tasks" in judged:
        checks.append(
            Check(
                "tasks",
                _met(tasks >= thresholds.tasks_ratio_pass),
                f"{tasks:.1f}x fewer tasks at the peak ({baseline.tasks_peak:,} → "
                f"{candidate.tasks_peak:,}), at least {thresholds.tasks_ratio_pass:g}x was asked",
            )
        )
    if "p99" in judged:
        checks += [
            Check(
                "p99",
                _met(p99 >= thresholds.p99_ratio_pass),
                f"{p99_figures}, at least {thresholds.p99_ratio_pass:g}x was asked",
            ),
            Check(
                "p99 goal",
                "goal met" if p99 >= goal else "goal missed",
                f"goal {'met' if p99 >= goal else 'not met'}: {p99_figures}, {goal:g}x was hoped for",
            ),
        ]
    return checks


def _failed(thresholds: Thresholds, baseline: VariantResult, candidate: VariantResult) -> Check:
    before, after = baseline.failed_share, candidate.failed_share
    if before is None or after is None:
        return Check("failed", "unknown", "no request ended while a fault lasted")
    if before < _MIN_FAILED:
        return Check(
            "failed",
            "unknown",
            f"{baseline.name}: only {before:.1%} of the requests failed under the fault, and "
            f"{_MIN_FAILED:.0%} are needed to show what protects: let the fault last longer",
        )
    drop = 1 - after / before
    return Check(
        "failed",
        _met(drop >= thresholds.failed_drop_min),
        f"{drop:.1%} fewer failed requests under the fault ({before:.1%} → {after:.1%}), at least "
        f"{thresholds.failed_drop_min:.0%} was asked",
    )


def _alone(thresholds: Thresholds, candidate: VariantResult) -> list[Check]:
    """Return the checks for which only the variant that is to hold counts."""
    found: list[Check] = []
    if "memory" in thresholds.judged:
        found.append(_memory(thresholds, candidate))
    if "unaffected" in thresholds.judged:
        found.append(_unaffected(thresholds, candidate))
    if "recovery" in thresholds.judged:
        found.append(_recovery(thresholds, candidate))
    return found


def _recovery(thresholds: Thresholds, candidate: VariantResult) -> Check:
    took, limit = candidate.recovered_s, thresholds.recovery_s
    if took is None:
        return Check(
            "recovery", "unknown", "no fault ends before the load does: set until_s on each"
        )
    if took == math.inf:
        said = f"{candidate.name}: requests still failed when the load ended"
    else:
        said = f"{candidate.name}: all requests succeeded again {took:.0f} s after the fault"
    return Check("recovery", _met(took <= limit), f"{said}, at most {limit:g} s was asked")


def _memory(thresholds: Thresholds, candidate: VariantResult) -> Check:
    growth, limit = candidate.rss_growth_pct_per_min, thresholds.rss_growth_max_pct_per_min
    if growth is None:
        return Check(
            "memory",
            "unknown",
            f"{candidate.name}: too few memory samples to tell its growth: let the fault last longer",
        )
    return Check(
        "memory",
        _met(growth <= limit),
        f"{candidate.name}: memory grew by {growth:+.2f} %/min under the fault, "
        f"at most {limit:g} %/min was asked",
    )


def _unaffected(thresholds: Thresholds, candidate: VariantResult) -> Check:
    rate, limit = candidate.unaffected_success_rate, thresholds.unaffected_success_min
    # Cut and not rounded: 99.9996 % must not read as 100 %.
    percent = math.floor(rate * 1e5) / 1e3
    seen = f"{candidate.name}: {percent:g} % of {candidate.unaffected_requests:,} requests outside the fault"
    if candidate.unaffected_requests < _MIN_UNAFFECTED:
        return Check(
            "unaffected",
            "unknown",
            f"{seen} succeeded: fewer than {_MIN_UNAFFECTED:,} requests cannot show {limit * 100:g} %",
        )
    return Check(
        "unaffected", _met(rate >= limit), f"{seen} succeeded, at least {limit * 100:g} % was asked"
    )


def _root_cause(thresholds: Thresholds, causes: Sequence[RootCause]) -> Check:
    if not causes:
        return Check(
            "root cause",
            "missed",
            f"no leak was found in {thresholds.root_cause}, although it was asked to be named",
        )
    first = causes[0]
    found = f"the leak is named: {first.site} ({first.function}, {first.count:,} tasks, {first.verdict})"
    source = first.source
    if source is None:
        return Check("root cause", "missed", f"{first.site} is named, but there is no such line")
    if source.marked is False:
        return Check(
            "root cause",
            "missed",
            f"{first.site} is named, but the guilty line of that file is another one: "
            f"expected the line marked {thresholds.root_cause_marker!r}",
        )
    return Check("root cause", "met", found)


def _met(yes: bool) -> Status:
    return "met" if yes else "missed"
