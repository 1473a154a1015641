"""Pauses that grow, and spread."""

from __future__ import annotations

import pytest

from backstay.guard.rules.backoff import Backoff


def test_the_bound_doubles_up_to_the_most() -> None:
    """And the dice take any share of it."""
    backoff = Backoff(0.1, 0.5)
    assert [backoff.bound(n) for n in (2, 3, 4, 5, 500)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert backoff.pause(3, 0.0) == 0.0
    assert backoff.pause(3, 0.5) == 0.1
    assert Backoff(0.0, 0.0).pause(9, 0.9) == 0.0


@pytest.mark.parametrize("bad", [{"first": -1}, {"first": 2, "most": 1}, {"factor": 0.5}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    """With the value seen."""
    with pytest.raises(ValueError, match="not"):
        Backoff(**bad)
