"""The growth rule: no healthy service is accused, every leak is, and why not is said.

The large runs behind the figures in docs/explanation/leak-verdicts.md are made
with ``python tests/property/growth_scenarios.py``; here every kind of service is
tried a few times, and hypothesis looks for series that break the laws.
"""

from __future__ import annotations

from math import log
from random import Random

import pytest
from growth_scenarios import (
    FOREVER,
    HEALTHY,
    Lives,
    backing_against,
    first_accusation,
    leaking,
    lifelines,
    peak_concurrency,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.leak import GrowthRule, Lifelines

RULE = GrowthRule()
SECONDS = [float(t) for t in range(100)]


@pytest.mark.parametrize("scenario", sorted(set(HEALTHY), key=lambda one: one.__name__))
@pytest.mark.parametrize("pace", [1.0, 30.0])
def test_healthy_services_are_never_accused(scenario, pace: float) -> None:
    """Whatever the traffic and the stay, a service whose tasks end is not accused at any sample."""
    times = [k * pace for k in range(100)]
    for seed in range(6):
        past = lifelines(scenario(Random(seed), times[-1]), times)
        accused = first_accusation(past, RULE, backing=backing_against(scenario))
        assert accused is None, f"{scenario.__name__} seed {seed}: {accused}"


@pytest.mark.parametrize(
    ("rate", "share", "stay", "within"),
    [
        (100.0, 1.0, 0.05, 26),  # a fast leak: everything stays
        (100.0, 1.0, 2.0, 45),  # and with enough in progress to look like a pool at first
        (20.0, 0.5, 1.0, 35),  # every second one
        (1000.0, 0.01, 0.05, 30),  # one in a hundred of heavy traffic
    ],
)
@pytest.mark.parametrize("since", [0, 40])
def test_leaks_are_accused_in_time(
    rate: float, share: float, stay: float, within: int, since: int
) -> None:
    """A leak of orphans is named within so many samples of its beginning, with the right slope."""
    lives = leaking(Random(7), SECONDS[-1], rate=rate, share=share, since=since, stay=stay)
    accused = first_accusation(lifelines(lives, SECONDS), RULE, backing="ended")
    assert accused is not None
    sample, growth = accused
    assert since < sample <= since + within + 2
    assert growth.slope_per_s == pytest.approx(rate * share, rel=0.25)
    assert growth.slope_low <= growth.slope_per_s <= growth.slope_high
    assert growth.age_rate > 0.9


def test_more_traffic_alone_is_called_rising() -> None:
    """A steep ramp of short tasks is a rise without stayers."""
    lives: Lives = [
        (at / 20, at / 20 + 0.6 + at / 2000) for at in range(2000) for _ in range(at // 250)
    ]
    growth = RULE.judge(lifelines(lives, SECONDS), backing="ended")
    assert growth.movement == "rising"
    assert growth.stayers == 0
    assert growth.p_value == 1.0


def test_traffic_that_ebbs_is_called_falling() -> None:
    """Fewer and fewer short tasks are a fall."""
    lives: Lives = [(100 - at / 20, 101 - at / 20) for at in range(2000) for _ in range(at // 250)]
    assert RULE.judge(lifelines(lives, SECONDS), backing="ended").movement == "falling"


def test_a_leak_that_was_repaired_is_not_accused_any_more() -> None:
    """What stays from an old leak is a level, not a growth."""
    lives: Lives = [(t / 50, FOREVER) for t in range(1000)]
    late = lifelines([(born - 200, ends) for born, ends in lives], SECONDS)
    assert RULE.judge(late, backing="ended").movement == "steady"


def test_stayers_that_end_together_clear_the_site() -> None:
    """When a hang is over and its tasks end, the finding goes away by itself."""
    lives: Lives = [(t / 20, 90.0) for t in range(1600)]
    before = lifelines(lives, SECONDS[:85])
    after = lifelines(lives, SECONDS)
    assert RULE.judge(before, backing="ended").movement == "growing"
    assert RULE.judge(after, backing="ended").movement != "growing"


@pytest.mark.parametrize(
    ("backing", "samples", "movement"),
    [
        ("ended", 25, "growing"),
        ("shared", 40, "unsure"),
        ("shared", 55, "growing"),
        ("own", 55, "unsure"),
    ],
)
def test_patience_depends_on_the_owner(backing: str, samples: int, movement: str) -> None:
    """The less the owner condemns a pile-up where nothing has ended, the longer it is watched."""
    past = lifelines([(t / 50, FOREVER) for t in range(5000)], SECONDS[:samples])
    growth = RULE.judge(past, backing=backing)
    assert (growth.movement == "growing") == (movement == "growing"), growth.reason


def test_half_an_hour_of_growth_convinces_whoever_the_owner_is() -> None:
    """Sessions or requests of which none ends for long enough are a leak in all but name."""
    times = [30.0 * k for k in range(80)]
    past = lifelines([(t * 10.0, FOREVER) for t in range(240)], times)
    assert RULE.judge(past, backing="own").movement == "growing"


def test_the_odd_ones_out_need_no_patience() -> None:
    """Where siblings keep ending, those who do not are suspect without an owner that says so."""
    lives = leaking(Random(3), SECONDS[-1], rate=300.0, share=0.02, since=0, stay=0.3)
    past = lifelines(lives, SECONDS[:40])
    assert past.fading() > 0.5
    assert RULE.judge(past, backing="shared").movement == "growing"


def test_a_pool_is_excused_up_to_the_peak_of_concurrent_work() -> None:
    """As many stayers as there were tasks at once may be connections; more may not."""
    past = lifelines([(t / 2, FOREVER) for t in range(200)], SECONDS[:60])
    assert RULE.judge(past, backing="ended", concurrency=10).movement == "growing"
    excused = RULE.judge(past, backing="ended", concurrency=100)
    assert excused.movement != "growing"
    assert "pool" in excused.reason


def test_the_excuse_ends_at_a_thousand() -> None:
    """No pool is larger than that, so a burst of a million tasks does not hide a leak."""
    past = lifelines([(t / 50, FOREVER) for t in range(5000)], SECONDS)
    assert RULE.judge(past, backing="ended", concurrency=1e6).movement == "growing"


@pytest.mark.parametrize(
    ("lives", "samples", "reason"),
    [
        ([(0.0, FOREVER)] * 50, 60, "+0 tasks that stay"),
        ([(float(t), t + 60.0) for t in range(99) for _ in range(9)], 100, "take up to"),
        ([(t, FOREVER) for t in (10.0, 11.0, 12.0) for _ in range(80)], 60, "in steps"),
        ([(-25 * log(1 - k / 400), FOREVER) for k in range(400)], 100, "flatten"),
        ([(float(t), FOREVER) for t in range(40)], 40, "too little seen"),
        (
            [(t / 80, t / 80 + 2.5) for t in range(8000)]
            + [(t / 2, t / 2 + (35 if t % 3 == 0 else 999)) for t in range(200)],
            100,
            "stay long but end",
        ),
    ],
)
def test_each_doubt_is_told_in_words(lives: Lives, samples: int, reason: str) -> None:
    """Whoever is let off is told why, so that a reader can check the rule."""
    growth = RULE.judge(lifelines(lives, SECONDS[:samples]), backing="ended")
    assert growth.movement != "growing"
    assert reason in growth.reason


def test_a_slowing_rise_is_doubted_even_when_it_goes_on() -> None:
    """Three a second, then two a second, is on its way to flat."""
    lives: Lives = [(t / 3, FOREVER) for t in range(150)] + [
        (50 + t / 2, FOREVER) for t in range(100)
    ]
    whole = GrowthRule(windows=(0,), span_share=0.05)
    assert (
        whole.judge(lifelines(lives, SECONDS), backing="ended").reason == "the rise is flattening"
    )


def test_replaced_elders_are_no_leak() -> None:
    """When stayers do end, if few of them, their replacement is seen in the oldest age."""
    lives: Lives = [(t / 10, FOREVER) for t in range(300, 1000)] + [(-50.0, 98.0)]
    rule = GrowthRule(
        residence_factor=0.0, max_left_share=1.0, min_life_windows=0.0, min_life_s=0.0
    )
    growth = rule.judge(lifelines(lives, SECONDS), backing="ended")
    assert growth.movement != "growing"


def test_chance_alone_is_named_as_such() -> None:
    """With the other thresholds out of the way, the two tests still have to agree."""
    lives: Lives = [(t / 10, FOREVER) for t in range(1000)]
    strict = GrowthRule(max_p=0.0)
    growth = strict.judge(lifelines(lives, SECONDS), backing="ended")
    assert growth.movement != "growing"
    assert "chance" in growth.reason


@pytest.mark.parametrize("samples", [0, 1, 10, 24])
def test_too_few_samples_say_how_long_it_takes(samples: int) -> None:
    """Before there is enough to judge, the rule says so and how much is missing."""
    growth = RULE.judge(
        lifelines([], SECONDS[: max(2, samples)]) if samples > 1 else Lifelines((), ())
    )
    assert growth.movement == "unsure"
    assert growth.needs_s > 0
    assert "25 samples" in growth.reason


# On a grid: a history that is moved in time must not be moved by a last digit.
TICKS = 1024
series = st.lists(
    st.tuples(st.integers(-30 * TICKS, 99 * TICKS), st.integers(0, 200 * TICKS)).map(
        lambda life: (life[0] / TICKS, sum(life) / TICKS)
    ),
    max_size=300,
)


@given(series)
@settings(max_examples=60, deadline=None)
def test_time_has_no_zero_point(lives: Lives) -> None:
    """Moving a whole history in time changes no verdict."""
    shifted = [(born + 4096, ends + 4096) for born, ends in lives]
    here = RULE.judge(lifelines(lives, SECONDS), backing="ended")
    there = RULE.judge(lifelines(shifted, [t + 4096 for t in SECONDS]), backing="ended")
    assert (here.movement, here.stayers, here.came, here.left) == (
        there.movement, there.stayers, there.came, there.left,
    )  # fmt: skip


@given(series)
@settings(max_examples=60, deadline=None)
def test_the_books_balance(lives: Lives) -> None:
    """Stayers at the end are those at the beginning, plus those who came, minus those who left."""
    growth = RULE.judge(lifelines(lives, SECONDS), backing="ended")
    assert growth.came >= 0
    assert growth.left >= 0
    assert growth.came - growth.left <= growth.stayers


@given(series, st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_a_level_of_keepers_changes_no_verdict(lives: Lives, keepers: int) -> None:
    """Tasks that were there before and stay for ever neither cause nor hide an accusation by much."""
    kept = lives + [(-100.0, FOREVER)] * keepers
    plain = RULE.judge(lifelines(lives, SECONDS), backing="ended")
    level = RULE.judge(lifelines(kept, SECONDS), backing="ended")
    if plain.movement != "growing":
        assert level.stayers - keepers <= level.came + plain.stayers
    assert level.came >= 0


@given(st.integers(2, 40), st.floats(0.05, 20.0), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_any_traffic_with_any_short_stay_is_innocent(rate: int, stay: float, seed: int) -> None:
    """Steady Poisson traffic is never accused, for whatever rate and stay."""
    lives = leaking(Random(seed), 99.0, rate=rate, share=0.0, since=0.0, stay=stay)
    past = lifelines(lives, SECONDS)
    assert (
        RULE.judge(past, backing="ended", concurrency=peak_concurrency(past)).movement != "growing"
    )
