"""The script of an outsider: what can be said in it, and what its dice do."""

from __future__ import annotations

import random
import statistics

import pytest
from shop.simulators import Script, ScriptError


def test_only_given_fields_change():
    """A script document replaces the named fields and keeps the others."""
    script = Script(latency_ms=20).changed({"hang": True, "rate_limit": 5, "max_concurrency": 3})
    assert (script.latency_ms, script.hang, script.rate_limit, script.max_concurrency) == (
        20,
        True,
        5.0,
        3,
    )
    again = script.changed({"rate_limit": None, "max_concurrency": None, "lose_reply": "drop"})
    assert (again.rate_limit, again.max_concurrency, again.lose_reply, again.hang) == (
        None,
        None,
        "drop",
        True,
    )


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], "the script is an array"),
        ("hang", "the script is a string"),
        (None, "the script is null"),
        (5, "the script is 5"),
        ({"latency": 5}, "unknown field 'latency', expected some of decline_rate"),
        ({"latency_ms": -1}, "latency_ms is -1, expected a number from 0 to 600000"),
        ({"latency_ms": float("nan")}, "latency_ms is nan"),
        ({"latency_ms": float("inf")}, "latency_ms is inf"),
        ({"latency_ms": True}, "latency_ms is True"),
        ({"latency_ms": "20"}, "latency_ms is '20'"),
        ({"latency_ms": None}, "latency_ms is None"),
        ({"error_rate": 1.5}, "error_rate is 1.5, expected a number from 0 to 1"),
        ({"error_status": 200}, "error_status is 200, expected a whole number from 400 to 599"),
        ({"error_status": 500.5}, "error_status is 500.5"),
        ({"hang": 1}, "hang is 1, expected true or false"),
        ({"lose_reply": "maybe"}, 'lose_reply is \'maybe\', expected "hang" or "drop"'),
        ({"max_concurrency": 0}, "max_concurrency is 0, expected a whole number from 1"),
        ({"rate_limit": 0}, "rate_limit is 0"),
    ],
)
def test_a_bad_script_is_refused(document: object, complaint: str):
    """The complaint names the field, what was seen and what was expected."""
    with pytest.raises(ScriptError) as raised:
        Script().changed(document)
    assert complaint in str(raised.value)


def test_latency_law():
    """Without jitter the time is constant; with it the median stays and the tail grows; the seed decides."""
    assert Script(latency_ms=20).latency_s(random.Random(1)) == 0.02
    dice = random.Random(1)
    times = [Script(latency_ms=20, jitter=0.5).latency_s(dice) for _ in range(4000)]
    assert statistics.median(times) == pytest.approx(0.02, rel=0.05)
    assert statistics.quantiles(times, n=100)[98] == pytest.approx(0.064, rel=0.15)
    again = random.Random(1)
    assert times[:5] == [Script(latency_ms=20, jitter=0.5).latency_s(again) for _ in range(5)]
