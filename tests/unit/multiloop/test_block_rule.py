"""When a loop counts as blocked: numbers in, verdicts out."""

from __future__ import annotations

import pytest

from backstay.multiloop._block_rule import BlockRule


def follow(rule: BlockRule, block: tuple[float, float], until: float, first: float) -> list[float]:
    """Look at a loop that is blocked from `block[0]` to `block[1]`; return when it was reported."""
    at, reports, seen = first, [], False
    while at < until:
        if block[0] <= at < block[1]:
            rule.busy(at, same=seen)
            seen = True
            if rule.overdue(at):
                reports.append(at)
        else:
            if rule.idle(at) is not None and not reports:
                reports.append(at)
            seen = False
        at += rule.pause(at)
    return reports


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_limit_is_refused(limit: float) -> None:
    """Zero would report everything."""
    with pytest.raises(ValueError, match="more than 0 seconds"):
        BlockRule(limit)


@pytest.mark.parametrize("offset", [0.0, 0.003, 0.011, 0.017, 0.024, 0.031, 0.049])
@pytest.mark.parametrize("limit", [0.02, 0.1, 0.3])
def test_a_long_block_is_reported_once_and_in_time(limit: float, offset: float) -> None:
    """However the looks fall, also after a long idle time: at most 5/4 of the limit after it began."""
    rule = BlockRule(limit)
    start = 3.0 + offset
    reports = follow(rule, (start, start + 2 * limit), start + 1.0, 0.0)
    assert len(reports) == 1
    assert 0.75 * limit - 0.001 <= reports[0] - start <= 1.25 * limit + 0.001


@pytest.mark.parametrize("offset", [0.0, 0.003, 0.011, 0.017, 0.024, 0.031, 0.049])
@pytest.mark.parametrize("limit", [0.02, 0.1, 0.3])
def test_a_short_one_never_is(limit: float, offset: float) -> None:
    """Nothing below 3/4 of the limit is called a block."""
    rule = BlockRule(limit)
    start = 3.0 + offset
    assert follow(rule, (start, start + 0.74 * limit), start + 1.0, 0.0) == []


def test_many_short_callbacks_are_no_block() -> None:
    """A loop that is always at work, but never long in one callback, is not blocked."""
    rule = BlockRule(0.1)
    for look in range(100):
        assert rule.busy(look * 0.025, same=False) is None
        assert not rule.overdue(look * 0.025)


def test_the_loop_itself_ends_the_block_exactly() -> None:
    """Its own word beats what is seen a little later."""
    rule = BlockRule(0.1)
    rule.idle(0.0)
    rule.busy(0.02, same=False)
    rule.busy(0.11, same=True)
    assert rule.overdue(0.11)
    assert rule.came_round(0.15) == pytest.approx(0.15)
    assert rule.idle(0.16) is None, "it is told once"


def test_a_word_from_before_the_callback_says_nothing_of_it() -> None:
    """An answer that was on its way while the next callback began ends nothing."""
    rule = BlockRule(0.1)
    rule.busy(1.0, same=False)
    assert rule.came_round(0.5) is None
    assert rule.since == 1.0


def test_a_block_that_was_over_between_two_looks() -> None:
    """It is told at its end when nobody looked in time."""
    rule = BlockRule(0.1)
    rule.idle(0.0)
    rule.busy(0.02, same=False)
    assert rule.idle(0.2) == pytest.approx(0.2)


def test_another_callback_ends_it_at_the_look_before() -> None:
    """It is certain only that the callback ran until it was last seen."""
    rule = BlockRule(0.1)
    rule.idle(0.0)
    rule.busy(0.02, same=False)
    rule.busy(0.12, same=True)
    assert rule.overdue(0.12)
    assert rule.busy(0.14, same=False) == pytest.approx(0.12)
    assert rule.since == pytest.approx(0.12)


def test_what_is_forgotten_accuses_nobody() -> None:
    """After a time in which nobody could look, the measure begins anew."""
    rule = BlockRule(0.1)
    rule.busy(0.0, same=False)
    rule.forget(5.0)
    rule.busy(5.01, same=True)
    assert not rule.overdue(5.05)


def test_what_held_the_interpreter_is_counted_from_its_beginning() -> None:
    """A callback that let nobody look can be reported at the first look after it."""
    rule = BlockRule(0.1)
    rule.held(1.0, 1.5)
    assert rule.overdue(1.5)


def test_looks_get_rarer_while_there_is_nothing_to_see() -> None:
    """40 looks a second at first, 20 after a second of rest, 40 again when it works."""
    rule = BlockRule(0.1)
    assert rule.pause(0.0) == pytest.approx(0.025)
    for look in range(40):
        rule.idle(look * 0.025)
    assert rule.pause(1.0) == pytest.approx(0.05)
    rule.busy(1.05, same=False)
    assert rule.pause(1.05) <= 0.025


def test_who_looks_late_again_and_again_sees_a_block() -> None:
    """On a starved machine: what was not looked at counts for nobody, what was looked at adds up."""
    rule = BlockRule(0.1)
    at, seen = 0.0, False
    rule.busy(at, same=False)
    for _ in range(40):  # late by 50 ms at every other look
        at += 0.025
        rule.busy(at, same=True)
        seen = seen or rule.overdue(at)
        at += 0.075
        rule.skip(0.05, at)
        rule.busy(at, same=True)
        seen = seen or rule.overdue(at)
    assert seen
    over = rule.idle(at)
    assert over is not None
    assert 1.9 <= over <= 2.1, "half of the four seconds were looked at"


def test_a_process_that_was_stopped_has_blocked_nothing() -> None:
    """However long the pause between two looks."""
    rule = BlockRule(0.1)
    rule.busy(0.0, same=False)
    rule.skip(3600.0, 3600.02)
    rule.busy(3600.02, same=True)
    assert not rule.overdue(3600.02)
    assert rule.idle(3600.03) is None
    rule.skip(5.0, 3700.0)  # nobody is at work: nothing to skip
    assert rule.since is None
