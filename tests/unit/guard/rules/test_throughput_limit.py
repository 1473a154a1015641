"""A limit that follows good throughput: bounded, no spiral, no flight, and back in stated times."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.guard.rules.throughput_limit import Throughput, ThroughputLimit
from backstay.guard.rules.throughput_window import ThroughputWindow

MEASURED = st.builds(
    lambda asked, share, span: Throughput(asked * share, asked, span),
    st.floats(0.0, 1000.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 300.0),
)


@given(st.floats(1.0, 100.0), st.lists(st.tuples(MEASURED, st.floats(0.0, 60.0)), max_size=50))
def test_it_stays_within_its_bounds_and_never_runs_away(
    initial: float, told: list[tuple[Throughput, float]]
) -> None:
    """Never above both the first limit and the headroom over what was really served well."""
    rule = ThroughputLimit(initial, ceiling=500.0)
    now, best = 0.0, 0.0
    for measured, gap in told:
        now += gap
        before = rule.limit
        moved = rule.sample(measured, now)
        best = max(best, measured.good)
        assert moved == (rule.limit != before)
        assert initial / 10 <= rule.limit <= min(500.0, max(initial, 1.2 * best))
        assert rule.limit >= before / 2, "one look halves it at most"


@given(st.lists(st.tuples(st.floats(0.0, 1000.0), st.floats(0.0, 0.05)), max_size=40))
def test_while_few_end_badly_it_never_falls(told: list[tuple[float, float]]) -> None:
    """However little is asked for: an idle hour takes nothing away."""
    rule = ThroughputLimit(100.0)
    for number, (asked, bad) in enumerate(told):
        before = rule.limit
        rule.sample(Throughput(asked * (1 - bad), asked, 300.0), 300.0 * number)
        assert rule.limit >= before


@given(MEASURED, st.floats(0.0, 299.0))
def test_one_bad_time_counts_once(measured: Throughput, later: float) -> None:
    """Evidence that reaches back behind the last fall brings no other one."""
    rule = ThroughputLimit(100.0)
    if not rule.sample(measured, 1000.0) or rule.limit > 100.0:
        return
    fallen = rule.limit
    again = Throughput(measured.good, measured.asked, 300.0)
    rule.sample(again, 1000.0 + later)
    assert rule.limit >= fallen


def test_little_evidence_is_none() -> None:
    """Too few units, or too short a time."""
    rule = ThroughputLimit(100.0)
    assert not rule.sample(Throughput(0.0, 0.06, 300.0), 0.0)
    assert not rule.sample(Throughput(0.0, 100.0, 29.0), 1.0)
    assert not rule.sample(Throughput(0.0, 0.0, 300.0), 2.0)
    assert rule.sample(Throughput(0.0, 100.0, 30.0), 3.0)
    assert rule.limit == 50.0


def test_chance_is_not_taken_for_overload() -> None:
    """Three bad ends of 24 may be chance at a tolerance of a twentieth; 30 of 240 are not."""
    rule = ThroughputLimit(100.0)
    assert not rule.sample(Throughput(0.07, 0.08, 300.0), 0.0)
    assert rule.sample(Throughput(0.7, 0.8, 300.0), 300.0)


def test_between_the_marks_nothing_moves() -> None:
    """From half of the tolerance to all of it; below it rises, above it falls."""
    rule = ThroughputLimit(100.0)
    for bad in (0.03, 0.04, 0.05):
        assert not rule.sample(Throughput(100 * (1 - bad), 100.0, 300.0), 0.0)
    assert rule.sample(Throughput(98.0, 100.0, 300.0), 1.0)
    assert rule.limit == pytest.approx(1.2 * 98.0)
    assert rule.sample(Throughput(80.0, 100.0, 300.0), 301.0)
    assert rule.limit == 100.0, "first, the rise is undone"
    assert rule.sample(Throughput(80.0, 100.0, 300.0), 601.0)
    assert rule.limit == pytest.approx(100.0 * 0.8 / 0.9625)


# -- in a closed loop --------------------------------------------------------------------


class Loop:
    """A dependency that does `capacity` a second well and fails the rest, and who is limited to it.

    Asked for more than it can it does less: of what is too much, `waste` is lost of its work.
    """

    def __init__(self, rule: ThroughputLimit, *, waste: float = 0.0, errors: float = 0.0) -> None:
        self.rule = rule
        self.window = ThroughputWindow(rule.window)
        self.waste = waste
        self.errors = errors
        self.now = 0.0
        self.limits: list[float] = []
        self.bad = self.asked = 0.0
        self._dice = Random(7)

    def run(self, seconds: float, capacity: float, demand: float = inf) -> float:
        """Let time pass; return the limit at its end."""
        for _ in range(int(seconds)):
            self.now += 1.0
            asked = min(demand, self.rule.limit)
            can = max(0.0, capacity - self.waste * max(0.0, asked - capacity))
            good = min(asked, can)
            good -= sum(self._dice.random() < self.errors for _ in range(int(good)))
            self.window.add(True, good, self.now)
            self.window.add(False, asked - good, self.now)
            self.asked += asked
            self.bad += asked - good
            due = asked and int(self.now) % 5 == 0  # an idle rate looks at nothing
            if due and self.rule.sample(self.window.measure(self.now), self.now):
                self.window.begin(self.now)
            self.limits.append(self.rule.limit)
        return self.rule.limit

    def until(self, met: Callable[[float], bool], capacity: float, most: float) -> float:
        """Let time pass until the limit meets a condition; return the seconds it took."""
        began = self.now
        while not met(self.run(1, capacity)):
            assert self.now - began < most, f"{self.rule.limit:.4g} after {most:g} s"
        return self.now - began


@pytest.mark.parametrize("waste", [0.0, 0.5, 1.0])
def test_half_of_the_capacity_is_followed_within_half_a_window(waste: float) -> None:
    """Also where a dependency that is asked for too much does less than it could."""
    loop = Loop(ThroughputLimit(100.0, floor=5.0), waste=waste)
    loop.run(1200, capacity=100.0)
    took = loop.until(lambda limit: limit <= 55.0, capacity=50.0, most=150.0)
    assert took <= 150.0
    rest = [loop.run(1, capacity=50.0) for _ in range(3600)]
    assert min(rest) >= 30.0, "it does not spiral down"
    assert max(rest) <= 60.0, "nor run away"


def test_a_capacity_that_returns_is_found_within_a_window() -> None:
    """By the headroom at each tenth of a window: 1.2 to the fourth is more than twice."""
    loop = Loop(ThroughputLimit(100.0, floor=5.0))
    loop.run(1200, capacity=50.0)
    assert loop.rule.limit <= 55.0
    loop.until(lambda limit: limit >= 95.0, capacity=100.0, most=300.0)


@pytest.mark.parametrize("waste", [0.0, 0.5, 1.0, 2.0])
def test_at_rest_it_loses_little_and_hardly_moves(waste: float) -> None:
    """Between the marks: at most the tolerance ends badly, also where too much costs work."""
    loop = Loop(ThroughputLimit(100.0), waste=waste)
    loop.run(1800, capacity=90.0)
    loop.bad = loop.asked = 0.0
    before = len(loop.limits)
    loop.run(7200, capacity=90.0)
    assert loop.bad / loop.asked <= 0.05
    assert len(set(loop.limits[before:])) <= 3


CAPACITIES = st.lists(st.floats(0.3, 2.0), min_size=1, max_size=3)


@given(
    st.floats(5.0, 300.0),
    st.floats(5.0, 300.0),
    CAPACITIES,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.0, 0.01]),
)
@settings(max_examples=25, deadline=None)
def test_whatever_the_capacity_does_the_limit_comes_to_lie_beside_it(
    initial: float, capacity: float, steps: list[float], waste: float, errors: float
) -> None:
    """From any start, after any steps, five windows later: neither on the floor nor away."""
    loop = Loop(ThroughputLimit(initial, floor=0.5), waste=waste, errors=errors)
    loop.run(1500 + 60 * abs(initial - capacity), capacity)
    for step in steps:
        now = max(3.0, capacity * step)
        loop.run(1500, now)
        rest = [loop.run(1, now) for _ in range(300)]
        assert 0.6 * now <= min(rest)
        assert max(rest) <= 1.35 * now


def test_an_outage_is_survived_and_the_way_back_is_not_endless() -> None:
    """Five minutes of nothing, halved each time down to the floor, and back in twelve minutes."""
    loop = Loop(ThroughputLimit(100.0, floor=10.0))
    loop.run(1200, capacity=100.0)
    assert loop.run(300, capacity=0.0) == 10.0
    loop.until(lambda limit: limit >= 95.0, capacity=100.0, most=720.0)


def test_idle_it_keeps_its_limit() -> None:
    """A night of nothing, then of very little: the limit is where it was."""
    loop = Loop(ThroughputLimit(100.0))
    before = loop.run(1200, capacity=100.0)
    assert loop.run(3600, capacity=100.0, demand=0.0) == before
    assert loop.run(3600, capacity=100.0, demand=3.0) == before
    assert loop.run(600, capacity=100.0) == pytest.approx(before, rel=0.2)


def test_errors_that_are_no_overload_leave_it_alone() -> None:
    """One call in sixty fails whatever the load: it still finds the capacity, and no floor."""
    loop = Loop(ThroughputLimit(50.0, floor=1.0), errors=1 / 60)
    loop.run(3600, capacity=100.0)
    assert min(loop.limits) >= 50.0
    assert 80.0 <= loop.rule.limit <= 121.0


def test_a_source_that_cannot_forget_is_followed_too() -> None:
    """A query over a fixed range: within two ranges, and no lower than it should."""
    rule = ThroughputLimit(100.0, floor=5.0)
    history: list[tuple[float, float]] = []
    lowest = inf

    def second(now: int, capacity: float) -> None:
        asked = rule.limit
        history.append((min(asked, capacity), asked))
        if now % 5 == 0:
            last = history[-300:]
            good, tried = (sum(kind) / 300 for kind in zip(*last, strict=True))
            rule.sample(Throughput(good, tried, 300.0), float(now))

    for now in range(1500):
        second(now, 100.0)
    for now in range(1500, 3000):
        second(now, 50.0)
        lowest = min(lowest, rule.limit)
        if now == 1500 + 600:
            assert rule.limit <= 55.0
    assert lowest >= 45.0
    for now in range(3000, 5000):
        second(now, 100.0)
    assert rule.limit >= 95.0


# -- bounds and the window ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"initial": 0.0}, "initial=0"),
        ({"initial": inf}, "finite"),
        ({"initial": 10.0, "floor": 20.0}, "floor=20"),
        ({"initial": 10.0, "ceiling": 5.0}, "ceiling=5"),
        ({"initial": 10.0, "headroom": 1.0}, "headroom"),
        ({"initial": 10.0, "tolerance": 0.0}, "tolerance"),
        ({"initial": 10.0, "window": 0.0}, "window"),
        ({"initial": 10.0, "minimum": 0.0}, "minimum"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, float], seen: str) -> None:
    """With what was seen."""
    with pytest.raises(ValueError, match=seen):
        ThroughputLimit(**settings)


@pytest.mark.parametrize("number", [-1.0, inf, float("nan")])
def test_a_measurement_is_a_number(number: float) -> None:
    """Not below 0, and finite."""
    with pytest.raises(ValueError, match="good is"):
        Throughput(number, 1.0, 1.0)


def test_no_rate_is_told_of_a_time_that_no_clock_can_tell_from_nothing() -> None:
    """A unit a moment after the first would otherwise be infinitely many a second."""
    window = ThroughputWindow(60.0)
    window.add(True, 2.0, 0.0)
    window.add(True, 2.0, 1e-311)
    assert window.measure(1e-311) == Throughput(0.0, 0.0, 0.0)
    assert window.measure(1e-6).asked == pytest.approx(4e6)


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.booleans()), min_size=1, max_size=80))
def test_a_window_counts_what_lies_in_it(events: list[tuple[float, bool]]) -> None:
    """To a sixtieth of its length."""
    window = ThroughputWindow(60.0)
    now = 0.0
    seen: list[tuple[float, bool]] = []
    for gap, good in events:
        now += gap
        window.add(good, 2.0, now)
        seen.append((now, good))
    measured = window.measure(now)
    assert 0.0 <= measured.span <= 60.0
    exact = [good for when, good in seen if when > now - 60.0]
    loose = [good for when, good in seen if when > now - 61.0]
    units = measured.asked * measured.span
    if measured.span > 0:
        assert 2 * len(exact) - 1e-6 <= units <= 2 * len(loose) + 1e-6
        assert 2 * sum(exact) - 1e-6 <= measured.good * measured.span <= 2 * sum(loose) + 1e-6


def test_a_window_begins_anew_where_it_is_told_to_and_after_a_long_pause() -> None:
    """So a measurement is not diluted by times in which nobody asked for anything."""
    window = ThroughputWindow(60.0)
    assert window.measure(5.0) == Throughput(0.0, 0.0, 0.0)
    for second in range(10):
        window.add(True, 6.0, float(second))
    assert window.measure(10.0) == Throughput(6.0, 6.0, 10.0)
    window.begin(10.0)
    assert window.measure(20.0) == Throughput(0.0, 0.0, 10.0)
    window.add(False, 5.0, 500.0)
    assert window.measure(510.0) == Throughput(0.0, 0.5, 10.0)
