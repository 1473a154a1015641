"""What the three rules that find a concurrency limit have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backstay.guard.rules.aimd_limit import AimdLimit
from backstay.guard.rules.gradient_limit import GradientLimit
from backstay.guard.rules.vegas_limit import VegasLimit

RULES = [AimdLimit, VegasLimit, GradientLimit]


@pytest.mark.parametrize("make", RULES)
@pytest.mark.parametrize(
    "bounds",
    [
        {"initial": 0, "least": 0},
        {"initial": 5, "least": 6},
        {"initial": 30, "least": 1, "most": 20},
    ],
)
def test_bounds_leave_room_to_move(make: Callable[..., Any], bounds: dict[str, int]) -> None:
    """A limit below 1 would never let anybody in again."""
    with pytest.raises(ValueError, match="expected 1 <= least <= initial <= most"):
        make(**bounds)


@pytest.mark.parametrize("make", RULES)
def test_no_rule_leaves_its_bounds(make: Callable[..., Any]) -> None:
    """Neither by drops nor by a dependency that is always quick."""
    rule = make(initial=20, least=3, most=40)
    for n in range(500):
        rule.sample(0.01, 99, True, n * 0.1)
    assert rule.limit == 3
    for n in range(50_000):
        rule.sample(0.01, 99, False, 50 + n * 0.01)
    assert rule.limit == 40


@pytest.mark.parametrize("make", RULES)
def test_an_unused_limit_does_not_grow(make: Callable[..., Any]) -> None:
    """What has not been tried is not known to be good."""
    rule = make(initial=20)
    for n in range(5_000):
        rule.sample(0.01, 9, False, n * 0.01)
    assert rule.limit == 20
