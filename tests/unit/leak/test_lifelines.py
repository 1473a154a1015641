"""What the rows of births say, against a plain count over the lives behind them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backstay.leak import Lifelines, birth_row

TIMES = [float(t) for t in range(10, 60, 5)]

lives = st.lists(
    st.tuples(st.floats(0, 60), st.floats(0, 40)).map(lambda life: (life[0], life[0] + life[1])),
    max_size=40,
)


def watched(all_lives: list[tuple[float, float]]) -> Lifelines:
    """The lifelines of these lives, built the way the sampler builds them."""
    rows = [
        birth_row([born for born, ends in all_lives if born <= at < ends], TIMES[: k + 1])
        for k, at in enumerate(TIMES)
    ]
    return Lifelines(TIMES, rows)


@given(lives)
def test_counts_by_birth_are_exact(all_lives: list[tuple[float, float]]) -> None:
    """born_by(edge, sample) is the number alive at the sample and born by the edge, for every pair."""
    past = watched(all_lives)
    for sample, at in enumerate(TIMES):
        here = [born for born, ends in all_lives if born <= at < ends]
        assert past.alive(sample) == len(here)
        for edge in range(sample + 1):
            assert past.born_by(edge, sample) == sum(born <= TIMES[edge] for born in here)


@given(lives)
def test_each_generation_only_shrinks(all_lives: list[tuple[float, float]]) -> None:
    """The tasks born by one edge never become more."""
    past = watched(all_lives)
    for edge in range(len(TIMES)):
        counts = [past.born_by(edge, sample) for sample in range(edge, len(TIMES))]
        assert counts == sorted(counts, reverse=True)


@given(lives)
def test_departures_count_everybody_who_was_seen_and_is_gone(
    all_lives: list[tuple[float, float]],
) -> None:
    """Whoever was alive at one sample and not at the last has departed once."""
    past = watched(all_lives)
    seen = [life for life in all_lives if any(life[0] <= at < life[1] for at in TIMES)]
    gone = [life for life in seen if life[1] <= TIMES[-1]]
    assert sum(count for _, count in past.departures()) == len(gone)


def test_departures_tell_the_age_at_most() -> None:
    """A task born at 11 (seen from 15) and ended at 22 departs at an age of at most 15 s."""
    assert watched([(11.0, 22.0)]).departures() == [(15.0, 1)]


def test_short_lived_sites_need_short_rows() -> None:
    """Leading zeros are cut, so young tasks cost one number however long the history is."""
    assert list(birth_row([59.0, 58.0], TIMES)) == [2]
    assert list(birth_row([], TIMES)) == []
    assert list(birth_row([31.0, 59.0], [10.0, 30.0, 35.0, 59.0])) == [1, 2]


def test_unknown_births_count_as_before_everything() -> None:
    """A task from before tracking is as old as the history, and so can never look newly grown."""
    assert list(birth_row([None, 59.0], TIMES)) == [1] * 9 + [2]


def test_a_birth_after_the_sample_counts_as_newborn() -> None:
    """Births are stamped by another clock reading than samples; a little ahead is no error."""
    assert list(birth_row([99.0], TIMES)) == [1]


def test_the_oldest_age_grows_with_a_stayer_and_falls_without() -> None:
    """oldest_age follows the first generation that has somebody left."""
    past = watched([(9.0, 40.0), (33.0, 99.0)])
    assert past.oldest_age(0) == 0.0
    assert past.oldest_age(4) == 20.0
    assert past.oldest_age(9) == 20.0  # born before the sample at 35, it is 55 now
    assert watched([]).oldest_age(5) == 0.0


def test_fading_tells_a_turnover_from_a_pile() -> None:
    """Newborns that are gone two samples later fade; newborns that stay do not."""
    short = [(t + 0.5, t + 6.0) for t in range(10, 55)]
    pile = [(t + 0.5, 999.0) for t in range(10, 55)]
    assert watched(short).fading() == 1.0
    assert watched(pile).fading() == 0.0
    assert watched([]).fading() == 0.0
    assert 0.2 < watched(short + pile).fading() < 0.5
