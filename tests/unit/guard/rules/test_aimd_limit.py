"""The limit that only drops can lower."""

from __future__ import annotations

import pytest

from backstay.guard.rules.aimd_limit import AimdLimit


def test_aimd_adds_one_and_takes_a_tenth() -> None:
    """Each call in use adds one, each drop takes a tenth, and at least one."""
    rule = AimdLimit(initial=20)
    rule.sample(1.0, 10, False, 0.0)
    assert rule.limit == 21
    rule.sample(1.0, 10, True, 0.0)
    assert rule.limit == 18
    small = AimdLimit(initial=3)
    small.sample(1.0, 1, True, 0.0)
    assert small.limit == 2


def test_aimd_may_count_slow_calls_as_dropped() -> None:
    """For calls that have no time limit of their own."""
    rule = AimdLimit(initial=20, slow=0.5)
    rule.sample(0.6, 20, False, 0.0)
    assert rule.limit == 18


@pytest.mark.parametrize("options", [{"backoff": 1.0}, {"backoff": 0.4}, {"slow": 0.0}])
def test_aimd_refuses_nonsense(options: dict[str, float]) -> None:
    """A backoff of 1 would never give way."""
    with pytest.raises(ValueError, match="not"):
        AimdLimit(**options)  # type: ignore[arg-type]
