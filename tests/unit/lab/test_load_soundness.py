"""When a measurement may be judged, and what a success rate can claim."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from load_results import group

from backstay.errors import UsageError
from backstay.lab.load import Latencies, success_verdict
from backstay.lab.load._soundness import notes_on, reasons_against


def test_a_punctual_generator_leaves_nothing_to_say() -> None:
    """A run within its lag limit is valid."""
    lag = Latencies([0.001] * 1000).summary()
    assert reasons_against(lag, max_lag_p99_s=0.005, begun=10, planned=10) == []


def test_a_late_generator_spoils_the_run() -> None:
    """Two late requests of a hundred move the p99 over the limit, and the reason has both figures."""
    lag = Latencies([0.001] * 98 + [0.05] * 2).summary()
    (reason,) = reasons_against(lag, max_lag_p99_s=0.005, begun=10, planned=10)
    assert "lag p99 50.0 ms, expected at most 5 ms" in reason


def test_a_load_that_was_not_offered_spoils_the_run() -> None:
    """Fewer requests than planned, or none at all, is another load than the one asked for."""
    lag = Latencies().summary()
    assert "began 9 of 10" in reasons_against(lag, max_lag_p99_s=0.005, begun=9, planned=10)[0]
    assert "no arrival" in reasons_against(lag, max_lag_p99_s=0.005, begun=0, planned=0)[0]


def test_notes_tell_of_small_samples_and_waits() -> None:
    """A p99 of 300 requests and a wait for connections are said, not judged."""
    small, waits = notes_on(group(300), connection_waits=12, planned=400, connections=8)
    assert "p99 rests on 3 of 300 requests" in small
    assert "12 of 400 requests waited for one of 8 connections" in waits
    assert notes_on(group(1000), connection_waits=0, planned=1000, connections=8) == []


@pytest.mark.parametrize(
    ("failures", "requests", "minimum", "verdict"),
    [
        (0, 29_956, 0.9999, "PASS"),
        (0, 29_955, 0.9999, "INCONCLUSIVE"),
        (1, 47_437, 0.9999, "PASS"),
        (1, 47_436, 0.9999, "INCONCLUSIVE"),
        (10, 30_000, 0.9999, "FAIL"),
        (5, 100, 0.99, "FAIL"),
        (0, 0, 0.99, "INCONCLUSIVE"),
        (100, 100, 0.5, "FAIL"),
        (400_000, 1_000_000, 0.999, "FAIL"),
    ],
)
def test_a_claim_needs_enough_requests(
    failures: int, requests: int, minimum: float, verdict: str
) -> None:
    """The exact bounds, among them the 29,956 flawless requests that 99.99 % takes."""
    assert success_verdict(failures, requests, minimum) == verdict


@given(
    requests=st.integers(0, 300),
    share=st.floats(0, 1),
    minimum=st.floats(0.01, 0.99),
)
def test_the_verdict_agrees_with_the_binomial_sum(
    requests: int, share: float, minimum: float
) -> None:
    """The logarithms give what the plain sum gives, wherever the plain sum can be trusted."""
    failures = round(requests * share)
    chance = 1.0 - minimum

    def at_most(k: int) -> float:
        return math.fsum(
            math.comb(requests, i) * chance**i * (1 - chance) ** (requests - i)
            for i in range(k + 1)
        )

    lower, upper = at_most(failures), 1 - at_most(failures - 1)
    verdict = success_verdict(failures, requests, minimum)
    if abs(lower - 0.05) > 1e-9 and abs(upper - 0.05) > 1e-9:
        expected = "PASS" if lower < 0.05 else "FAIL" if upper < 0.05 else "INCONCLUSIVE"
        assert verdict == expected


@pytest.mark.parametrize("arguments", [(-1, 10, 0.9), (11, 10, 0.9), (0, 10, 0.0), (0, 10, 1.0)])
def test_impossible_counts_are_refused(arguments: tuple[int, int, float]) -> None:
    """Counts and shares that cannot be are named, not computed with."""
    with pytest.raises(UsageError, match="cannot judge"):
        success_verdict(*arguments)
