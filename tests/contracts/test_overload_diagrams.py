"""What the pages of bulkhead and admission draw is what their rules do."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from backstay.guard.rules.lag_cap import LagCap
from backstay.guard.rules.queue_delay import QueueDelay

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"
Arrows = set[tuple[str, str]]


def drawn(page: str) -> Arrows:
    """Return the arrows of a page's state diagram, where it starts left out."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    (diagram,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", text, re.DOTALL)
    return set(re.findall(r"^ +(\w+) --> (\w+):", diagram, re.MULTILINE))


def test_the_line_of_a_bulkhead_goes_the_ways_that_are_drawn() -> None:
    """All of them, and no other."""
    dice, rule, now, waiting = Random(1), QueueDelay(), 0.0, 0

    def state() -> str:
        if rule.since is None:
            return "empty"
        return "newest_first" if rule.overloaded(now) else "in_order"

    seen: Arrows = set()
    for _ in range(5_000):
        before = state()
        now += dice.choice([0.001, 0.01, 0.06])
        seen.add((before, state()))  # what time alone has done
        before = state()
        if dice.random() < 0.5:
            rule.join(now)
            waiting += 1
        elif waiting:
            waiting -= 1
            if waiting and now - (rule.since or now) > rule.interval:
                rule.drop(now)
            elif not waiting:
                rule.empty()
        seen.add((before, state()))
    assert {(a, b) for a, b in seen if a != b} == drawn("bulkhead.md")


def test_the_limit_of_an_admission_goes_the_ways_that_are_drawn() -> None:
    """Once cut it never doubles again."""
    seen: Arrows = set()
    for seed in range(50):
        dice, rule, now = Random(seed), LagCap(), 0.0
        for _ in range(40):
            for _ in range(2):
                rule.hear(dice.choice([0.0, 0.0, 0.0, 0.05]))
            now += 0.1001
            before = "slow_start" if rule.slow_start else "following"
            assert rule.decide(now, peak=dice.randint(1, 99), refused=0)
            seen.add((before, "slow_start" if rule.slow_start else "following"))
    assert seen == drawn("admission.md")
