"""A finding is plain values, in the program and on the wire."""

from __future__ import annotations

import json

from backstay.leak import Finding


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
