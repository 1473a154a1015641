"""The deadlocks of random wait-for graphs, against a model that tries everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backstay.leak._rings import Wait, ring_through, rings, stuck

TASKS = 7


@st.composite
def graphs(draw: st.DrawFn) -> dict[int, Wait]:
    """Some tasks wait, for one or several others, with either rule; the others run."""
    waiting = draw(st.sets(st.integers(0, TASKS - 1)))
    return {
        who: Wait(tuple(draw(st.lists(st.integers(0, TASKS - 1), max_size=3))), draw(st.booleans()))
        for who in waiting
    }


def model_of_stuck(waits: dict[int, Wait]) -> set[int]:
    """Whoever is not held up runs to its end, again and again; who is left is stuck."""
    ended: set[int] = set()
    while True:
        more = {
            who
            for who in range(TASKS)
            if who not in ended
            and (
                who not in waits
                or not waits[who].on
                or (any if waits[who].any_frees else all)(one in ended for one in waits[who].on)
            )
        }
        if not more:
            return set(waits) - ended
        ended |= more


def reaches(waits: dict[int, Wait], inside: set[int], start: int) -> set[int]:
    seen: set[int] = set()
    todo = [start]
    while todo:
        for one in waits[todo.pop()].on:
            if one in inside and one not in seen:
                seen.add(one)
                todo.append(one)
    return seen


@given(graphs())
def test_stuck_are_those_whom_no_order_of_ends_sets_free(waits: dict[int, Wait]) -> None:
    """Nobody who could end is called stuck, and nobody who cannot is missed."""
    assert stuck(waits) == model_of_stuck(waits)


@given(graphs())
def test_rings_hold_exactly_those_who_wait_for_themselves_in_the_end(waits) -> None:
    """Each member reaches itself and the others; who is in no ring does not reach itself."""
    held_up = stuck(waits)
    found = rings(waits, held_up)
    members = {who for ring in found for who in ring}
    assert sum(map(len, found)) == len(members)
    for ring in found:
        for who in ring:
            assert set(ring) <= reaches(waits, held_up, who)
    for who in held_up - members:
        assert who not in reaches(waits, held_up, who)
    assert not held_up or members


@given(graphs())
def test_the_ring_that_is_shown_is_closed(waits) -> None:
    """Each waits for the next, and the last for the first."""
    for ring in rings(waits, stuck(waits)):
        way = ring_through(ring[0], ring, waits)
        assert way[0] == ring[0]
        assert len(way) == len(set(way))
        for who, following in zip(way, [*way[1:], way[0]], strict=True):
            assert following in waits[who].on


def test_a_long_chain_is_no_recursion() -> None:
    """Ten thousand tasks in one ring."""
    waits = {k: Wait(((k + 1) % 10_000,), False) for k in range(10_000)}
    (ring,) = rings(waits, stuck(waits))
    assert len(ring_through(0, ring, waits)) == 10_000
