"""The reference page lists what the rules can say."""

from __future__ import annotations

from pathlib import Path

from backstay.tasks._wait_judge import _RULES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "blocked-on.md"


def test_every_label_is_listed() -> None:
    """A reader who meets a label in a dump finds it on the page."""
    text = PAGE.read_text(encoding="utf-8")
    rules = [rule for table in _RULES.values() for rule in table.values()]
    labels = {rule.label for rule in rules if not rule.transparent}
    phases = {phase for rule in rules for phase in (rule.phases or {}).values()}
    assert not {words for words in labels | phases if f"`{words}`" not in text}
    assert not {rule.kind for rule in rules if f"`{rule.kind}`" not in text}
