"""A finding is plain values, in the program and on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from backstay.leak import Finding, Verdict


def test_a_finding_survives_the_wire() -> None:
    """to_json gives every field, with tuples as lists."""
    finding = Finding(
        verdict="ORPHAN", count=2, alive=3, task_name="notify", site="a.py:7", function="create",
        owner="request x", age=9.5, blocked_on="sleep", held_by=None, trace_ids=("t1", "t2"),
        advice="do", impact=2.0, slope_per_s=None, detail=("why",),
    )  # fmt: skip
    document = json.loads(json.dumps(finding.to_json()))
    assert document["trace_ids"] == ["t1", "t2"]
    assert document["detail"] == ["why"]
    assert document["page"] == "docs/reference/verdicts/orphan.md"
    assert set(document) == {*Finding.__slots__, "bytes_held", "page"}


@pytest.mark.parametrize("verdict", [*get_args(Verdict), "deadlock", "lost wake-up", "pile"])
def test_each_verdict_has_a_page(verdict: str) -> None:
    """A finding names the page that explains it, and the page is there."""
    shape = f"{verdict}: why" if verdict.islower() else "why"
    finding = Finding(
        verdict="STUCK" if verdict.islower() else verdict, count=1, alive=1, task_name="x",
        site="a.py:7", function="f", owner="", age=None, blocked_on="", held_by=None, trace_ids=(),
        advice="do", impact=1.0, slope_per_s=None, detail=(shape,),
    )  # fmt: skip
    page = Path(__file__).parents[3] / finding.page
    assert verdict.lower().replace(" ", "-") in page.stem
    assert page.is_file()
