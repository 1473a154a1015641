"""Levels and their shares."""

from __future__ import annotations

import pytest

from backstay.guard.rules.criticality import CRITICALITIES, SHARES, check_shares, limit_of


def test_the_more_critical_the_larger_the_share() -> None:
    """Each level meets its limit before the next more critical one does."""
    assert tuple(SHARES) == CRITICALITIES
    shares = list(SHARES.values())
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert shares[-1] >= 0.5  # a quiet cap is twice what is in flight


def test_an_idle_process_takes_work_of_any_level() -> None:
    """Whatever the cap, one is let in."""
    assert limit_of(0.5, 1) == 1
    assert limit_of(0.5, 33) == 16
    assert limit_of(1.0, 32) == 32


def test_levels_of_ones_own() -> None:
    """They are copied, and nobody can change them afterwards."""
    mine = {"default": 1.0, "batch": 0.2}
    shares = check_shares(mine)
    mine["batch"] = 5.0
    assert dict(shares) == {"default": 1.0, "batch": 0.2}


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    """The message names the level."""
    with pytest.raises(ValueError, match="share of 'batch' is above 0 and at most 1"):
        check_shares({"default": 1.0, "batch": share})


def test_there_is_always_a_default() -> None:
    """Most calls name no level."""
    with pytest.raises(ValueError, match=r"'default'.*got \['high'\]"):
        check_shares({"high": 1.0})
