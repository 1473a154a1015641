"""Paced queue: even spacing whatever the weight, and a queue that is bounded twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.guard.rules.paced_queue import Pace, PacedQueue


@given(
    st.floats(0.1, 1000.0),
    st.lists(st.tuples(st.floats(0.01, 20.0), st.floats(0.0, 2.0)), max_size=60),
)
def test_no_call_leaves_sooner_than_the_one_before_is_worth(
    rate: float, calls: list[tuple[float, float]]
) -> None:
    """However late the one before left: a late call is never made up for by two at once."""
    queue = PacedQueue(rate, 1.0)
    now, free = 0.0, 0.0
    for cost, gap in calls:
        now += gap
        wait = queue.wait(cost, now)
        assert queue.take(cost, now) == pytest.approx(wait, abs=2e-9)
        if wait <= 1e-9:
            assert now >= free - 2e-9
            free = now + cost / rate


@given(
    st.floats(0.5, 100.0),
    st.floats(0.0, 2.0),
    st.lists(st.tuples(st.floats(0.1, 5.0), st.floats(0.0, 0.3)), max_size=80),
)
def test_nobody_waits_longer_than_he_may(
    rate: float, max_wait: float, calls: list[tuple[float, float]]
) -> None:
    """A queue that is asked before each joins it keeps `max_wait` for all of them."""
    queue = PacedQueue(rate, 1.0, settings=Pace(max_wait))
    now = 0.0
    line: list[tuple[float, float]] = []
    for cost, gap in calls:
        end = now + gap
        while line and (wait := queue.wait(line[0][0], now)) <= end - now:
            now += wait
            weight, came = line.pop(0)
            assert queue.take(weight, now) == 0.0
            assert now - came <= max_wait + 1e-6
        now = end
        wait = queue.wait_behind(sum(weight for weight, _ in line), cost, now)
        if not queue.too_long(wait, len(line)):
            line.append((cost, now))


def test_the_queue_is_bounded_in_time_and_in_number() -> None:
    """And says which bound it was."""
    queue = PacedQueue(10.0, 1.0, settings=Pace(0.5, 3))
    assert queue.too_long(0.5, 2) == ""
    assert "max_wait is 0.5 s" in queue.too_long(0.6, 2)
    assert "max_queue is 3" in queue.too_long(0.1, 3)
    assert PacedQueue(10.0, 1.0).too_long(0.1, 10**6) == ""


def test_what_cannot_be_is_refused() -> None:
    """With what was seen."""
    with pytest.raises(ValueError, match="burst is 1, not 2"):
        PacedQueue(10.0, 2)
    with pytest.raises(ValueError, match="not -1"):
        Pace(max_queue=-1)
    with pytest.raises(ValueError, match="not -1"):
        Pace(-1)
    with pytest.raises(ValueError, match="more than 0"):
        PacedQueue(10.0, 1.0).take(0, 0.0)
