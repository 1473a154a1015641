"""A scenario with what a person asked for instead."""

from __future__ import annotations

from made_up_comparison import scenario


def test_another_duration_stretches_the_whole_experiment() -> None:
    """Warm-up and faults keep their share, so a short trial shows the same story."""
    short = scenario().asked_for(duration_s=30, rate=50, seed=9)
    assert (short.load.duration_s, short.load.warmup_s) == (30, 4)
    assert (short.faults[0].at_s, short.faults[0].until_s) == (6, 26)
    assert (short.load.rate, short.load.seed) == (50, 9)
    assert short.thresholds.rss_settle_s == 5


def test_asking_for_nothing_changes_nothing() -> None:
    """Without wishes the scenario is what the file says."""
    assert scenario().asked_for() == scenario()
