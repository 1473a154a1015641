"""Merging leak reports, and looking the guilty line up."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.lab.compare import merge_findings, read_source

MARK = "# leak:"


def finding(site: str, count: int, verdict: str = "GROWING", **more: object) -> dict[str, object]:
    """Return a finding as the admin plane writes it."""
    return {"site": site, "function": "f", "verdict": verdict, "count": count, **more}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with one guilty file."""
    (tmp_path / "app.py").write_text(
        "a = 1\nspawn()  # leak: here\nb = 2\n# leak: below\nspawn()\n"
    )
    (tmp_path / "clean.py").write_text("spawn()\n")
    return tmp_path


def test_sites_are_relative_and_ranked_by_count(source: Path) -> None:
    """The site with most tasks comes first, written as a person would find it."""
    report = {"findings": [finding(f"{source}/clean.py:1", 5), finding(f"{source}/app.py:2", 90)]}
    first, second = merge_findings({"order": report}, source, MARK)
    assert (first.site, first.count, first.services) == ("app.py:2", 90, ("order",))
    assert first.source is not None
    assert first.source.marked is True
    assert [number for number, _ in first.source.lines] == [1, 2, 3]
    assert second.source is not None
    assert second.source.marked is None


def test_one_site_in_several_services_is_one_leak(source: Path) -> None:
    """Counts of different services add up; trace ids and words are kept."""
    merged = merge_findings(
        {
            "order": {"findings": [finding("/x.py:1", 5, trace_ids=["a", "b"])]},
            "payment": {"findings": [finding("/x.py:1", 7, trace_ids=["b", "c"], owner="request")]},
        },
        source,
        MARK,
    )
    assert len(merged) == 1
    assert merged[0].count == 12
    assert merged[0].services == ("order", "payment")
    assert merged[0].trace_ids == ("a", "b", "c")
    assert merged[0].owner == "request"
    assert merged[0].site == "/x.py:1"
    assert merged[0].source is None


def test_two_verdicts_on_one_site_count_the_same_tasks_once(source: Path) -> None:
    """A site that grows and has orphans keeps the more damning verdict and the larger count."""
    report = {
        "findings": [finding("/x.py:1", 50), finding("/x.py:1", 40, "ORPHAN", advice="own it")]
    }
    (cause,) = merge_findings({"order": report}, source, MARK)
    assert (cause.verdict, cause.count, cause.advice) == ("ORPHAN", 50, "own it")


def test_odd_documents_are_survived(source: Path) -> None:
    """What is missing is empty, and what is not a finding is skipped."""
    merged = merge_findings(
        {
            "a": {},
            "b": {"findings": "none"},
            "c": {"findings": [3, {"site": None, "count": "many", "trace_ids": 7}]},
            "d": {"findings": [finding("nowhere", 1, blocked_on={"kind": "timer", "label": ""})]},
        },
        source,
        MARK,
    )
    assert [(cause.site, cause.count, cause.blocked_on) for cause in merged] == [
        ("nowhere", 1, "timer"),
        ("", 0, ""),
    ]


def test_the_marker_may_stand_on_the_line_above(source: Path) -> None:
    """A long line keeps its marker above it; any other line of the file is not the guilty one."""
    below, other = read_source("app.py:5", source, MARK), read_source("app.py:3", source, MARK)
    assert below is not None
    assert below.marked is True
    assert other is not None
    assert other.marked is False


@pytest.mark.parametrize("site", ["app.py:99", "app.py:0", "app.py:x", "none.py:1", ""])
def test_a_line_that_does_not_exist_is_none(source: Path, site: str) -> None:
    """Nothing is invented for a site that leads nowhere."""
    assert read_source(site, source, MARK) is None
