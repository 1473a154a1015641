"""Who starts and stops when, against a plain definition of both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import LifecycleMisuse
from backstay.lifecycle._start_order import check_needs, startable, stoppable

NAMES = [f"c{k}" for k in range(7)]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Needs without a ring: each needs some of those before it."""
    return {
        name: sorted(draw(st.sets(st.sampled_from(NAMES[:k]), max_size=3))) if k else []
        for k, name in enumerate(NAMES)
    }


@given(graphs(), st.randoms(use_true_random=False))
def test_everybody_starts_after_its_needs_and_stops_before_them(needs, dice) -> None:
    """In any order in which the start and the end of each may come."""
    check_needs(needs)
    begun: set[str] = set()
    started: list[str] = []
    while len(started) < len(needs):
        begun.update(startable(needs, begun, set(started)))
        one = dice.choice(sorted(begun - set(started)))
        assert all(need in started for need in needs[one])
        started.append(one)
    alive, stopping = set(needs), set()
    while alive:
        stopping.update(stoppable(needs, stopping, alive))
        one = dice.choice(sorted(stopping & alive))
        assert not any(one in needs[other] for other in alive)
        alive.discard(one)


def test_what_is_independent_starts_and_stops_at_once() -> None:
    """Nobody waits for whom it does not need."""
    needs = {"db": [], "bus": [], "http": ["db", "bus"]}
    assert startable(needs, set(), set()) == ["db", "bus"]
    assert startable(needs, {"db", "bus"}, {"db"}) == []
    assert stoppable(needs, set(), {"db", "bus", "http"}) == ["http"]
    assert stoppable(needs, {"http"}, {"db", "bus"}) == ["db", "bus"]


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "a -> b -> c -> a"),
        ({"x": [], "a": ["x", "b"], "b": ["x", "a"]}, "a -> b -> a"),
        ({"a": ["nowhere"]}, "'nowhere', which is not there: there are a"),
    ],
)
def test_needs_that_cannot_be_met_are_named(needs, said) -> None:
    """The ring, or the missing one."""
    with pytest.raises(LifecycleMisuse, match=said):
        check_needs(needs)


@given(graphs(), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_an_edge_backwards_is_a_ring_exactly_when_there_is_a_way_back(needs, low, high) -> None:
    """As a search by hand finds it."""
    needs[low] = [*needs[low], high]

    def reaches(here: str, goal: str, seen: frozenset[str]) -> bool:
        return here == goal or any(
            reaches(one, goal, seen | {here}) for one in needs[here] if one not in seen
        )

    if reaches(high, low, frozenset()):
        with pytest.raises(LifecycleMisuse):
            check_needs(needs)
    else:
        check_needs(needs)
