"""Whose turn it is: compared with a list, for any order of arrivals and departures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backstay.lifecycle._hand import Hand

KEYS = st.sampled_from([None, "a", "b"])
STEPS = st.lists(
    st.one_of(
        KEYS.map(lambda key: ("take", key)),
        st.just(("begin", None)),
        st.integers(0, 20).map(lambda number: ("leave", number)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 4))
def test_of_each_key_the_first_in_hand_is_at_work_or_next(
    steps: list[tuple[str, object]], places: int
) -> None:
    """One at a time of a key, in order of arrival; places are never exceeded, nor left empty."""
    hand: Hand[int] = Hand(places, 12)
    here: list[tuple[int, str | None]] = []  # the model: all in hand, in order
    begun: list[int] = []
    number = 0
    for what, detail in steps:
        if what == "take" and hand.room:
            hand.take(number, detail)  # type: ignore[arg-type]
            here.append((number, detail))  # type: ignore[arg-type]
            number += 1
        elif what == "begin":
            firsts = [
                one
                for place, (one, key) in enumerate(here)
                if key is None or key not in [other for _, other in here[:place]]
            ]
            may = [one for one in firsts if one not in begun]
            got = hand.begin()
            if len(begun) == places or not may:
                assert got is None
            else:
                assert got in may
                begun.append(got)
        elif what == "leave" and here:
            one, key = here.pop(int(detail) % len(here))  # type: ignore[call-overload]
            behind = [other for other, its in here if its == key and other > one]
            first = all(its != key for other, its in here if other < one)
            assert hand.behind(one) == ([] if key is None or not first else behind)
            hand.leave(one)
            begun = [other for other in begun if other != one]
        assert (len(hand), hand.room, hand.at_work) == (len(here), 12 - len(here), len(begun))
        assert hand.waiting == [one for one, _ in here if one not in begun]
        assert all(one in hand for one, _ in here)


def test_turns_come_in_the_order_in_which_they_were_due() -> None:
    """Nobody waits for a place behind those that came later."""
    hand: Hand[str] = Hand(1, 4)
    for name, key in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("n", None)]:
        hand.take(name, key)
    order = []
    while (one := hand.begin()) is not None:
        order.append(one)
        hand.leave(one)
    assert order == ["a1", "b1", "n", "a2"]
