"""What a call that a deadline cut says about the dependency."""

from __future__ import annotations

from backstay.guard.rules import FAIL, NEUTRAL
from backstay.guard.rules.outcomes import of_cut


def test_a_cut_call_counts_from_the_time_such_calls_usually_take() -> None:
    """A caller with no time left says nothing about the dependency."""
    assert of_cut(0.2, usual=0.2, slow=None) == FAIL
    assert of_cut(0.1, usual=0.2, slow=None) == NEUTRAL
    assert of_cut(0.1, usual=0.2, slow=0.05) == NEUTRAL


def test_while_nothing_is_known_the_slow_limit_decides() -> None:
    """A dependency that never answered at all must be found out, too."""
    assert of_cut(1.0, usual=None, slow=0.8) == FAIL
    assert of_cut(0.5, usual=None, slow=0.8) == NEUTRAL
    assert of_cut(9.0, usual=None, slow=None) == NEUTRAL
