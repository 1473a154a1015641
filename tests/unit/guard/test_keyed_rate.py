"""`KeyedRate`: each key its own limit, in bounded memory."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import LimitError
from backstay.guard import KeyedRate
from backstay.guard.rules.gcra import Gcra
from backstay.guard.rules.hot_keys import HotKeys


async def test_one_key_does_not_use_up_anothers() -> None:
    """And the error says whose, and when to come back."""
    limit = KeyedRate(10, 2, name="tenants")
    assert [limit.try_acquire("a") for _ in range(3)] == [True, True, False]
    assert limit.try_acquire("b")
    with pytest.raises(LimitError, match=r"'a' has used up its 10/s") as caught:
        limit.check("a")
    assert caught.value.retry_after == pytest.approx(0.1)
    await asyncio.sleep(0.1)
    limit.check("a")
    seen = limit.statistics()
    assert (seen.keys, seen.granted, seen.rejected) == (2, 4, 1)
    assert [(hot.key, hot.count) for hot in seen.hottest] == [("a", 5), ("b", 1)]
    assert repr(limit) == "<KeyedRate 'tenants' 10/s each, 2 keys>"


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.0, 0.5)), max_size=60),
    st.integers(6, 8),
)
def test_with_room_for_all_it_is_a_limit_for_each(asks: list[tuple[str, float]], size: int) -> None:
    """Exactly what as many separate limits would answer."""
    keyed, now = KeyedRate(5, 2, size=size), 100.0
    each = {key: Gcra(5, 2) for key in "abcdef"}
    for key, gap in asks:
        now += gap
        assert keyed.retry_after(key, now) == pytest.approx(each[key].wait(1, now))
        assert keyed.take(key, now) == (each[key].take(1, now) == 0.0)


def test_keys_whose_burst_is_full_again_are_forgotten_without_a_trace() -> None:
    """They are as good as new; only one that is not counts as forgotten."""
    limit = KeyedRate(1, 1, size=3)
    for number, key in enumerate("abc"):
        assert limit.take(key, float(number))
    assert limit.take("d", 10.0)
    assert limit.statistics().keys == 1
    assert limit.statistics().forgotten == 0
    for key in "efg":
        assert limit.take(key, 10.0)
    seen = limit.statistics()
    assert (seen.keys, seen.forgotten) == (3, 1)


def test_a_refused_key_stays_among_the_recent() -> None:
    """Or a key that asks all the time would be forgotten first, and start anew."""
    limit = KeyedRate(0.01, 1, size=2)
    assert limit.take("greedy", 0.0)
    assert limit.take("b", 0.0)
    assert not limit.take("greedy", 0.1)
    assert limit.take("c", 0.1)  # pushes b out
    assert not limit.take("greedy", 0.2)


def test_in_shadow_mode_it_counts_and_lets_through() -> None:
    """And its limits can be changed."""
    limit = KeyedRate(1, 1, mode="shadow")
    for _ in range(3):
        limit.check("a")
    assert limit.rejected == 2
    limit.update(rate=5, burst=3, mode="enforce")
    assert (limit.rate, limit.burst, limit.mode) == (5, 3, "enforce")
    with pytest.raises(ValueError, match="burst"):
        limit.update(burst=0)
    for bad in ({"rate": 0}, {"rate": 1, "size": 0}, {"rate": 1, "hot": 0}):
        with pytest.raises(ValueError, match="not"):
            KeyedRate(**bad)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 30), max_size=300), st.integers(1, 8))
def test_the_heaviest_keys_are_found_in_few_counters(asks: list[int], size: int) -> None:
    """Whoever has more than its share of the total is in the list, and no count is too low."""
    hot = HotKeys(size)
    for key in asks:
        hot.add(key)
    found = {entry.key: entry for entry in hot.top(size)}
    assert hot.total == sum(entry.count for entry in found.values()) == len(asks)
    for key in set(asks):
        real = asks.count(key)
        if real > len(asks) / size:
            assert key in found
        if key in found:
            assert found[key].count - found[key].over <= real <= found[key].count
