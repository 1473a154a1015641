"""What the store decides, and what a process keeps of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.guard.rules.quota_book import QuotaBook
from backstay.guard.rules.shared_quota import Entry, decide, lease_for, microseconds

ENTRIES = st.builds(Entry, st.integers(1, 400_000), st.sampled_from([0, 1_000, 300_000, 10**9]))
ASKS = st.tuples(
    st.integers(0, 500_000), st.lists(ENTRIES, max_size=4), st.integers(0, 600_000), st.booleans()
)


@given(st.integers(1_000, 500_000), st.lists(ASKS, max_size=30))
def test_no_span_holds_more_than_a_burst_and_the_rate(
    burst_us: int, asks: list[tuple[int, list[Entry], int, bool]]
) -> None:
    """Each grant counted when it may be spent; what came back unspent counts as never given."""
    due, now = 0, 10**15
    spent: list[tuple[int, int]] = []
    for gap, entries, want, give_back in asks:
        now += gap
        due, granted, waits = decide(due, burst_us, entries, want, 0, now)
        assert 0 <= granted <= want
        if granted and give_back:
            after = decide(due, burst_us, (), 0, granted, now)[0]
            assert after == max(due - granted, now)
            due = after
        elif granted:
            spent.append((now, granted))
        for entry, wait in zip(entries, waits, strict=True):
            if wait >= 0:
                assert wait <= entry.most_us
                spent.append((now + wait, entry.cost_us))
            else:
                assert -1 - wait > entry.most_us
    spent.sort()
    for first in range(len(spent)):
        total = 0
        for at, cost in spent[first:]:
            total += cost
            # One that costs more than a burst is served, when it has been saved up for.
            assert total <= max(burst_us, cost) + (at - spent[first][0]) + max(
                0, spent[first][1] - burst_us
            )


def test_nothing_that_is_free_is_missed() -> None:
    """Callers that ask in time are served one rate apart, without a gap."""
    due, now, times = 0, 10**15, list[int]()
    for _ in range(20):
        due, _, (wait,) = decide(due, 5_000, (Entry(5_000, 10**9),), 0, 0, now)
        times.append(now + wait)
        now += 1_000
    assert times == [10**15 + 5_000 * number for number in range(20)]


@given(st.floats(0.1, 1e6), st.floats(1, 1e4), st.integers(1, 1000))
def test_leases_stay_small(rate: float, burst: float, processes: int) -> None:
    """All together a tenth of a second's worth and half a burst at most, but one for each."""
    lease = lease_for(rate, burst, processes)
    assert lease >= 1
    assert lease * processes <= max(processes, min(0.1 * rate, burst / 2) * 1.0001)


def test_units_are_rounded_up_and_exact_ones_are_not() -> None:
    """A third of a microsecond more is a limit kept; a last digit is no unit."""
    assert microseconds(1, 200) == 5_000
    assert microseconds(1, 3e5) == 4
    assert microseconds(3, 3e6) == 1
    assert microseconds(0.1 + 0.2, 0.3) == 1_000_000


def test_a_book_ripens_in_order() -> None:
    """What is reserved counts when its time has come, and not before what was reserved earlier."""
    book = QuotaBook(4)
    book.reserve(2, 10.0)
    book.reserve(1, 9.0)
    assert (book.held, book.coming, book.ripen(9.5)) == (0, 3, 10.0)
    assert not book.take(1)
    assert book.ripen(10.0) is None
    assert (book.held, book.coming) == (3, 0)
    assert book.take(3)
    assert not book.take(0.1)
    book.hold(6)
    book.reserve(1, 20.0)
    assert book.spare == 2
    assert book.give_up() == pytest.approx(7)
    assert (book.held, book.coming) == (0, 0)
