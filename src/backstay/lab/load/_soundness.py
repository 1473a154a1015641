"""May this measurement be used? Pure rules that separate a slow service from a bad measurement.

A verdict needs a third word beside PASS and FAIL. A generator that was late, or
a sample too small for the claim, says nothing about the service, and the honest
answer then is INCONCLUSIVE.
"""

from __future__ import annotations

import math
from typing import Literal

from backstay.errors import UsageError
from backstay.lab.load._result import GroupSummary, LatencySummary

__all__ = ["notes_on", "reasons_against", "success_verdict"]

_ENOUGH_ABOVE_P99 = 10
"""Samples beyond a quantile below which its estimate is mostly luck; common practice, and
it makes 1,000 requests the least for a p99."""


def reasons_against(
    lag: LatencySummary, *, max_lag_p99_s: float, begun: int, planned: int
) -> list[str]:
    """Return why a run may not be judged; an empty list means it may.

    Args:
        lag: how late the generator itself began the requests.
        max_lag_p99_s: the largest 99th percentile of that lag that is tolerated, seconds.
        begun: requests begun.
        planned: requests in the schedule.
    """
    reasons: list[str] = []
    if not planned:
        reasons.append("the schedule has no arrival: raise the rate or the duration")
    if begun < planned:
        reasons.append(
            f"the generator began {begun:,} of {planned:,} requests, "
            f"so the load was not the one asked for"
        )
    if lag.p99_s > max_lag_p99_s:
        reasons.append(
            f"the generator itself was late: lag p99 {lag.p99_s * 1e3:.1f} ms, expected at most "
            f"{max_lag_p99_s * 1e3:g} ms; the machine is too busy to measure on: "
            f"lower the rate or quieten it"
        )
    return reasons


def notes_on(
    overall: GroupSummary, *, connection_waits: int, planned: int, connections: int
) -> list[str]:
    """Return what a reader of a valid run should know.

    Args:
        overall: all judged requests.
        connection_waits: requests that found every connection busy.
        planned: requests in the schedule.
        connections: the limit on connections.
    """
    notes: list[str] = []
    beyond = overall.requests * 0.01
    if overall.requests and beyond < _ENOUGH_ABOVE_P99:
        notes.append(
            f"p99 rests on {beyond:.0f} of {overall.requests:,} requests; "
            f"for a steadier figure offer {_ENOUGH_ABOVE_P99 * 100:,} or more"
        )
    if connection_waits:
        notes.append(
            f"{connection_waits:,} of {planned:,} requests waited for one of "
            f"{connections:,} connections; "
            f"the wait is part of their latency"
        )
    return notes


def success_verdict(
    failures: int, requests: int, minimum: float, *, confidence: float = 0.95
) -> Literal["PASS", "FAIL", "INCONCLUSIVE"]:
    """Say whether counts support the claim "the success rate is at least `minimum`".

    PASS when a service just below the minimum would show so few failures in fewer
    than 1 - confidence of all runs; FAIL when a service exactly at the minimum
    would show so many that rarely; INCONCLUSIVE in between: ask for more requests.
    The bounds are exact (Clopper and Pearson), so 29,956 requests without a failure
    are what it takes to claim 99.99 %.

    Args:
        failures: requests that failed, 0 to `requests`.
        requests: requests judged.
        minimum: the success rate that is claimed, 0 < minimum < 1.
        confidence: how sure to be, 0 < confidence < 1.

    Raises:
        UsageError: an argument is out of range.

    Cost:
        Grows with `failures`; about 0.3 us each.
    """
    if not (0 <= failures <= requests and 0 < minimum < 1 and 0 < confidence < 1):
        raise UsageError(
            f"cannot judge {failures} failures of {requests} requests "
            f"against {minimum!r} at {confidence!r}; "
            f"expected 0 <= failures <= requests, and shares between 0 and 1"
        )
    doubt = 1.0 - confidence
    if _at_most(failures, requests, 1.0 - minimum) <= doubt:
        return "PASS"
    if 1.0 - _at_most(failures - 1, requests, 1.0 - minimum) <= doubt:
        return "FAIL"
    return "INCONCLUSIVE"


def _at_most(successes: int, trials: int, chance: float) -> float:
    """Return P(X <= successes) of a binomial law; by logarithms, so that nothing underflows."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    log_odds = math.log(chance) - math.log1p(-chance)
    term = trials * math.log1p(-chance)
    terms = [term]
    for k in range(1, successes + 1):
        term += math.log((trials - k + 1) / k) + log_odds
        terms.append(term)
    peak = max(terms)
    return min(1.0, math.exp(peak) * math.fsum(math.exp(value - peak) for value in terms))
