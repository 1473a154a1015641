"""The breaker as a table: every transition, and what overlapping calls must not do."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest

from backstay.guard.rules import FAIL, NEUTRAL, OK
from backstay.guard.rules.breaker_rule import (
    TABLE,
    BreakerRule,
    BreakerSettings,
    BreakerState,
    Event,
)


def rule(**settings: Any) -> BreakerRule:
    made = BreakerRule(BreakerSettings(**{"minimum": 4, "open_for": 10.0, **settings}))
    made.dice = 0.5
    return made


def ended(breaker: BreakerRule, outcome: Any, at: float = 0.0, took: float = 0.01) -> None:
    ticket = breaker.admit(at)
    assert ticket is not None
    breaker.settle(ticket, outcome, at + took, took)


def opened(**settings: Any) -> BreakerRule:
    breaker = rule(**settings)
    for _ in range(4):
        ended(breaker, FAIL)
    assert breaker.state == "open"
    return breaker


def test_every_pair_of_state_and_event_goes_where_the_table_says() -> None:
    """What is not in the table changes nothing."""
    for state, event in itertools.product(get_args(BreakerState), get_args(Event)):
        breaker = rule()
        breaker.state = state
        breaker._go(event, 0.0)
        assert breaker.state == TABLE.get((state, event), state)
        assert breaker.generation == ((state, event) in TABLE)


def test_it_opens_at_the_failure_rate_and_not_before_there_are_enough_calls() -> None:
    """Three failures of three are too few to judge by; four of eight are half."""
    breaker = rule()
    for _ in range(3):
        ended(breaker, FAIL)
    assert breaker.state == "closed"
    breaker = rule(minimum=8)
    for outcome in (OK, FAIL, OK, FAIL, OK, FAIL, OK):
        ended(breaker, outcome)
    assert breaker.state == "closed"
    ended(breaker, FAIL)
    assert breaker.state == "open"


def test_slow_calls_open_it_too() -> None:
    """A dependency that answers after the slow limit is no better than one that fails."""
    breaker = rule(slow=1.0)
    for _ in range(4):
        ended(breaker, OK, took=1.5)
    assert breaker.state == "open"


def test_calls_that_hang_open_it_before_they_end() -> None:
    """In flight beyond the slow limit is slow already."""
    breaker = rule(slow=1.0)
    hanging = [breaker.admit(0.0) for _ in range(4)]
    assert all(hanging)
    assert breaker.admit(0.5) is not None
    assert breaker.admit(1.0) is None
    assert breaker.state == "open"
    for ticket in hanging:
        assert ticket is not None
        breaker.settle(ticket, FAIL, 9.0, 9.0)  # of an older generation
    assert breaker.look(9.0) == (0, 0, 0)


def test_the_first_of_several_that_hang_may_open_it() -> None:
    """Those behind it were forgotten then; whoever asks next is refused, and gets no `KeyError`."""
    breaker = rule(slow=1.0, minimum=2)
    tickets = [breaker.admit(0.0) for _ in range(4)]
    assert breaker.admit(2.0) is None
    assert breaker.state == "open"
    for ticket in tickets:
        assert ticket is not None
        breaker.settle(ticket, "ok", 3.0, 3.0)
    assert breaker.state == "open"


def test_a_hanging_call_that_is_cancelled_was_slow_all_the_same() -> None:
    """Whoever gives up first, the dependency did not answer in time."""
    breaker = rule(slow=1.0)
    tickets = [breaker.admit(0.0) for _ in range(4)]
    for ticket in tickets:
        assert ticket is not None
        breaker.settle(ticket, NEUTRAL, 1.2, 1.2)
    assert breaker.state == "open"


def test_a_call_counted_slow_in_flight_is_not_counted_again() -> None:
    """Its failure is added to its slowness, as one call."""
    breaker = rule(slow=1.0, minimum=100)
    ticket = breaker.admit(0.0)
    assert ticket is not None
    assert breaker.look(2.0) == (1, 0, 1)
    breaker.settle(ticket, FAIL, 3.0, 3.0)
    assert breaker.look(3.0) == (1, 1, 1)


def test_neutral_calls_neither_trip_nor_reset() -> None:
    """Three failures, a caller that leaves, a fourth failure: it opens."""
    breaker = rule()
    for outcome in (FAIL, FAIL, FAIL, NEUTRAL):
        ended(breaker, outcome)
    assert breaker.state == "closed"
    ended(breaker, FAIL)
    assert breaker.state == "open"


def test_old_failures_leave_the_window() -> None:
    """What is older than the window says nothing about now."""
    breaker = rule(window=10.0)
    for _ in range(3):
        ended(breaker, FAIL, at=0.0)
    ended(breaker, FAIL, at=11.0)
    assert breaker.state == "closed"
    assert breaker.look(11.1)[:2] == (1, 1)


def test_open_it_refuses_until_its_time_is_up() -> None:
    """And says how long that is; the dice spread it by a tenth."""
    breaker = opened()
    assert breaker.admit(9.9) is None
    assert breaker.retry_after(4.01) == pytest.approx(6.0)
    assert breaker.admit(10.01) is not None
    assert breaker.state == "half_open"
    for dice, until in ((0.0, 9.0), (0.999, 11.0)):
        breaker = rule()
        breaker.dice = dice
        for _ in range(4):
            ended(breaker, FAIL, took=0.0)
        assert breaker.opens_until == pytest.approx(until, abs=0.01)


def test_half_open_admits_as_many_as_it_has_probes() -> None:
    """Of a hundred callers in the same moment one gets through."""
    breaker = opened()
    assert sum(breaker.admit(20.0) is not None for _ in range(100)) == 1
    breaker = opened(probes=3)
    assert sum(breaker.admit(20.0) is not None for _ in range(100)) == 3


def test_good_probes_close_it_and_a_bad_one_opens_it_for_longer() -> None:
    """Twice as long each time, up to the most."""
    breaker = opened(most_open=35.0)
    now, spans = 0.01, []
    for _ in range(4):
        now = breaker.opens_until
        probe = breaker.admit(now)
        assert probe is not None
        breaker.settle(probe, FAIL, now, 0.01)
        spans.append(breaker.opens_until - now)
    assert spans == pytest.approx([20.0, 35.0, 35.0, 35.0])
    now = breaker.opens_until
    probe = breaker.admit(now)
    assert probe is not None
    breaker.settle(probe, OK, now, 0.01)
    assert breaker.state == "closed"
    for _ in range(4):
        ended(breaker, FAIL, at=now)
    assert breaker.opens_until == pytest.approx(now + 0.01 + 10.0)


def test_a_probe_that_is_cancelled_or_released_gives_its_place_back() -> None:
    """The next caller is the probe then."""
    breaker = opened()
    probe = breaker.admit(20.0)
    assert probe is not None
    assert breaker.admit(20.0) is None
    breaker.settle(probe, NEUTRAL, 20.1, 0.1)
    probe = breaker.admit(20.2)
    assert probe is not None
    breaker.release(probe)
    assert breaker.admit(20.3) is not None
    assert breaker.probing == 1


def test_a_lost_probe_loses_its_lease() -> None:
    """It never wedges the breaker, and if it reports after all it has no say."""
    breaker = opened(lease=5.0)
    lost = breaker.admit(20.0)
    assert lost is not None
    assert breaker.admit(24.9) is None
    assert breaker.retry_after(24.0) == pytest.approx(1.0)
    second = breaker.admit(25.0)
    assert second is not None
    breaker.settle(lost, FAIL, 25.1, 5.1)
    assert breaker.state == "half_open"
    breaker.settle(second, OK, 25.2, 0.2)
    assert breaker.state == "closed"


def test_a_probe_that_hangs_opens_it_again() -> None:
    """Without waiting for its end."""
    breaker = opened(slow=1.0)
    assert breaker.admit(20.0) is not None
    assert breaker.admit(21.5) is None
    assert breaker.state == "open"


def test_late_results_of_an_older_generation_are_ignored() -> None:
    """A success from before the trip does not close it; a failure from then does not reopen it."""
    for slow in (None, 60.0):
        breaker = rule(slow=slow)
        early = [breaker.admit(0.0) for _ in range(3)]
        for _ in range(4):
            ended(breaker, FAIL)
        assert early[0] is not None
        breaker.settle(early[0], OK, 1.0, 1.0)
        assert breaker.state == "open"
        probe = breaker.admit(20.0)
        assert probe is not None
        assert early[1] is not None
        breaker.settle(early[1], FAIL, 20.1, 20.1)
        assert breaker.state == "half_open"
        breaker.settle(probe, OK, 20.2, 0.2)
        assert breaker.state == "closed"
        assert early[2] is not None
        breaker.settle(early[2], FAIL, 20.3, 20.3)
        assert breaker.look(20.3)[:2] == (0, 0)


def test_forced_it_asks_nobody() -> None:
    """Until it is reset."""
    breaker = rule()
    breaker.force("force_open", 0.0)
    assert breaker.admit(100.0) is None
    assert breaker.retry_after(100.0) is None
    breaker.force("force_close", 0.0)
    for _ in range(10):
        ended(breaker, FAIL)
    assert breaker.state == "forced_closed"
    breaker.force("reset", 0.0)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    "settings",
    [
        {"failure_rate": 0},
        {"failure_rate": 1.1},
        {"slow_rate": -1},
        {"minimum": 0},
        {"probes": 0},
        {"slow": 0},
        {"window": 0},
        {"open_for": -1},
        {"most_open": 0},
        {"lease": float("nan")},
    ],
)
def test_nonsense_is_refused_by_name(settings: dict[str, float]) -> None:
    """The error names the setting and the value."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        BreakerSettings(**settings)  # type: ignore[arg-type]
