"""What is remembered of each site, how far back, and what is forgotten."""

from __future__ import annotations

import pytest

from backstay.leak import GrowthRule, Site
from backstay.leak._history import History

LEAKY = Site("/app/orders.py", 7, "create", True)
BUSY = Site("/app/web.py", 9, "handle", True)


def leak(until: int, pace: float, per_sample: int) -> list[float | None]:
    """Births of a leak that began at sample 0."""
    return [pace * k for k in range(1, until + 1) for _ in range(per_sample)]


def fed(samples: int, *, pace: float = 30.0, per_sample: int = 6, size: int = 240) -> History:
    """A history of one leaking site and a busy one."""
    history = History(size, 1000)
    for k in range(samples):
        at = pace * k
        history.add(at, {LEAKY: leak(k, pace, per_sample), BUSY: [at - 0.5] * 20})
    return history


def test_a_young_history_judges_by_its_finest_ring() -> None:
    """Thirty samples are enough for the first ring, and nothing for the others."""
    growth = fed(30).judge(GrowthRule())(LEAKY, "ended")
    assert growth.movement == "growing"
    assert growth.span_s == 29 * 30.0


def test_a_slow_leak_is_seen_by_a_coarser_ring() -> None:
    """One stray in four minutes is too little for 40 minutes, and plain within hours."""
    history = History(240, 1000)
    for k in range(80 * 8):
        births: list[float | None] = [240.0 * n for n in range(1, k // 8 + 1)]
        history.add(30.0 * k, {LEAKY: births, BUSY: [30.0 * k - 1] * 3})
    past = history.rings[0].lifelines(LEAKY)
    assert past is not None
    assert GrowthRule().judge(past, backing="ended").movement != "growing"
    growth = history.judge(GrowthRule())(LEAKY, "ended")
    assert growth.movement == "growing"
    assert growth.slope_per_s * 240 == pytest.approx(1.0, rel=0.1)


def test_a_busy_site_is_steady_and_cheap() -> None:
    """Short-lived tasks leave rows of one or two numbers."""
    history = fed(100)
    assert history.judge(GrowthRule())(BUSY, "ended").movement == "steady"
    assert max(len(row) for row in history.rings[0].rows[BUSY]) <= 2


def test_the_past_is_bounded_by_each_ring() -> None:
    """Each ring keeps its share of the samples; together they reach back 64 times further."""
    history = fed(300, per_sample=1, size=90)
    assert [len(ring.times) for ring in history.rings] == [30, 30, 5]
    assert all(
        len(rows) == len(ring.times) for ring in history.rings for rows in ring.rows.values()
    )
    assert history.span_s == 299 * 30.0
    assert history.last == 299 * 30.0


def test_a_site_that_is_empty_for_a_whole_ring_is_forgotten() -> None:
    """Lines that no longer start anything cost nothing in the end."""
    history = fed(10, size=9)
    assert history.sites == 2
    for k in range(10, 14):
        history.add(30.0 * k, {BUSY: [30.0 * k]})
    assert history.sites == 1
    assert history.judge(GrowthRule())(LEAKY, "ended").movement == "unsure"


def test_more_sites_than_fit_are_counted_and_known_ones_stay() -> None:
    """With room for two, the known site and the largest new one are kept."""
    history = History(240, 2)
    history.add(0.0, {BUSY: [0.0]})
    others = {Site("/app/x.py", n, "f", True): [1.0] * n for n in range(1, 5)}
    history.add(1.0, {**others, BUSY: [1.0]})
    assert history.refused == 3
    assert set(history.rings[0].rows) == {BUSY, Site("/app/x.py", 4, "f", True)}


def test_concurrency_counts_those_who_have_ended_only() -> None:
    """Leaked tasks are no excuse for other leaked tasks."""
    assert fed(50).rings[0].concurrency() == 20
    assert History(240, 10).rings[0].concurrency() == 0


def test_an_empty_history_knows_nothing() -> None:
    """Before the first sample there is no last one and no span."""
    history = History(240, 10)
    assert (history.last, history.span_s, history.sites) == (None, 0.0, 0)
