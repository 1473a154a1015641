"""What a schedule begins while the clock is set forward and back, against a model made of plain sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.lifecycle import Agenda, Every
from backstay.lifecycle._agenda import _RANGES, Begun, Missed

# Instants of no regular distance, long enough for all that the tests do; whole seconds.
STEPS = st.sampled_from((1, 2, 7, 30, 60, 600))


class Planned:
    """A timetable made of a list."""

    def __init__(self, instants: Sequence[float]) -> None:
        self.instants = instants

    def next_after(self, at: float) -> float | None:
        return next((one for one in self.instants if one > at), None)


class Model:
    """The policy as the page tells it: sets and lists, nothing remembered in a clever way."""

    def __init__(
        self, instants: Sequence[float], since: float, missed: Missed, most: int, late: float
    ) -> None:
        self.instants = instants
        self.at = self.since = since
        self.missed, self.most, self.late = missed, most, late
        self.begun: set[float] = set()
        self.waiting: list[float] = []

    def look(self, wall: float, places: int) -> list[float]:
        due = [
            one
            for one in self.instants
            if max(self.at, self.since) < one <= wall and one not in self.begun
        ]
        self.waiting = [one for one in self.waiting if one <= wall] + due
        self.at = wall
        keep = {"skip": 1, "once": 1, "all": self.most}[self.missed]
        self.waiting = self.waiting[-keep:]
        if self.missed == "skip":
            self.waiting = [one for one in self.waiting if wall - one <= self.late]
        begin, self.waiting = self.waiting[:places], self.waiting[places:]
        if self.missed == "skip":
            self.waiting = []
        self.begun |= set(begin)
        return begin


# Small steps among the instants, and now and then a large one.
LOOKS = st.lists(
    st.tuples(
        st.sampled_from(
            (0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 61.0, -0.5, -1.0, -3.0, -10.0, -60.0)
            + (600.0, -600.0, 86400.0, -86400.0)
        ),
        st.integers(0, 3),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=400)
@given(
    gaps=st.lists(st.sampled_from((1, 1, 2, 3, 7, 30)), min_size=20, max_size=100),
    looks=LOOKS,
    missed=st.sampled_from(("skip", "once", "all")),
    most=st.integers(1, 5),
    late=st.sampled_from((0.0, 10.0, 60.0)),
    since=st.sampled_from((1000.0, 1020.0)),
)
def test_an_agenda_begins_what_the_model_begins(
    gaps: list[int],
    looks: list[tuple[float, int]],
    missed: Missed,
    most: int,
    late: float,
    since: float,
) -> None:
    """Whatever the clock does: the same runs, in the same order, and none of them twice."""
    instants = [1000.0 + sum(gaps[: number + 1]) for number in range(len(gaps))]
    agenda = Agenda(Planned(instants), since, missed=missed, most=most, late=late)
    model = Model(instants, since, missed, most, late)
    wall = 1000.0
    begun: list[float] = []
    for step, places in looks:
        wall += step
        turn = agenda.look(wall, places)
        assert list(turn.begin) == model.look(wall, places)
        begun += turn.begin
        assert agenda.waiting == len(model.waiting)
        upcoming = [one for one in instants if one > max(wall, since) and one not in model.begun]
        assert agenda.next_at(wall) == (upcoming[0] if upcoming else None)
    assert len(begun) == len(set(begun))


@given(
    gaps=st.lists(STEPS, min_size=1, max_size=100),
    forward=st.lists(st.sampled_from((0.5, 1.0, 30.0, 600.0)), max_size=60),
    missed=st.sampled_from(("skip", "once", "all")),
)
def test_whatever_is_due_is_begun_or_counted(
    gaps: list[int], forward: list[float], missed: Missed
) -> None:
    """While the clock only goes forward: begun + missed + overlapped + waiting = all that was planned."""
    instants = [1000.0 + sum(gaps[: number + 1]) for number in range(len(gaps))]
    agenda = Agenda(Planned(instants), 1000.0, missed=missed, most=3, late=20.0)
    wall, told = 1000.0, 0
    for number, step in enumerate(forward):
        wall += step
        turn = agenda.look(wall, number % 3)
        told += len(turn.begin) + turn.missed + turn.overlapped
    assert told + agenda.waiting == sum(one <= wall for one in instants)


@given(numbers=st.lists(st.integers(0, 60), max_size=80))
def test_what_was_begun_is_remembered_in_any_order(numbers: list[int]) -> None:
    """Ranges say of each instant what a set says, and touching ones are joined."""
    begun = Begun(Every(10))
    for number in numbers:
        begun.add(number * 10.0)
    known = set(numbers)
    assert [number for number in range(61) if begun.last_of(number * 10.0) is not None] == sorted(
        known
    )
    assert len(begun) == sum(number + 1 not in known for number in known)


def test_memory_is_bounded_and_forgets_on_the_safe_side() -> None:
    """Every other instant begun for ever: two numbers each for the newest; older ones count as begun."""
    begun = Begun(Every(1))
    for number in range(0, 4 * _RANGES, 2):
        begun.add(float(number))
    assert len(begun) == _RANGES
    assert all(begun.last_of(float(number)) is not None for number in range(0, 4 * _RANGES, 2))
    assert begun.last_of(4.0 * _RANGES - 3) is None
    assert begun.last_of(1.0) is not None


def test_a_leap_over_a_day_of_seconds_looks_only_at_the_newest() -> None:
    """86,400 instants come due at once: the newest are found without stepping over all of them."""

    class Counting(Every):
        asked = 0

        def next_after(self, at: float) -> float:
            self.asked += 1
            return super().next_after(at)

    timetable = Counting(1)
    agenda = Agenda(timetable, 0.5, missed="all", most=20)
    turn = agenda.look(86400.25, 30)
    assert turn.begin == tuple(float(one) for one in range(86381, 86401))
    assert turn.missed >= 1000
    assert timetable.asked < 1500


@given(seconds=st.floats(0.001, 1e6), phase=st.floats(0, 0.99), at=st.floats(-1e9, 4e9))
def test_every_plans_one_instant_after_the_other(seconds: float, phase: float, at: float) -> None:
    """The next instant is later, none is left out between two, and it is the same from anywhere before it."""
    timetable = Every(seconds, phase=phase * seconds)
    first = timetable.next_after(at)
    second = timetable.next_after(first)
    assert at < first < second
    assert timetable.next_after(math.nextafter(first, -math.inf)) == first
    assert second - first == pytest.approx(seconds, abs=1e-5)
    assert first - at <= seconds + 1e-5


def test_numbers_out_of_range_are_refused() -> None:
    """An interval of nothing, a policy that is none, a bound of none."""
    with pytest.raises(ValueError, match=r"at least 0.001 s"):
        Every(0)
    with pytest.raises(ValueError, match="phase"):
        Every(10, phase=10)
    with pytest.raises(ValueError, match='"skip", "once" or "all"'):
        Agenda(Every(1), 0.0, missed="twice")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="most >= 1"):
        Agenda(Every(1), 0.0, most=0)
    assert repr(Every(900)) == "Every(900)"
    assert repr(Every(900, phase=5)) == "Every(900, phase=5)"
