"""Each verdict has a page that explains it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from backstay.leak import Finding, Verdict


@pytest.mark.parametrize("verdict", [*get_args(Verdict), "deadlock", "lost wake-up", "pile"])
def test_each_verdict_has_a_page(verdict: str) -> None:
    """A finding names the page that explains it, and the page is there."""
    shape = f"{verdict}: why" if verdict.islower() else "why"
    finding = Finding(
        verdict="STUCK" if verdict.islower() else verdict, count=1, alive=1, task_name="x",
        site="a.py:7", function="f", owner="", age=None, blocked_on="", held_by=None, trace_ids=(),
        advice="do", impact=1.0, slope_per_s=None, detail=(shape,),
    )  # fmt: skip
    page = Path(__file__).parents[2] / finding.page
    assert verdict.lower().replace(" ", "-") in page.stem
    assert page.is_file()
