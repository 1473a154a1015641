"""New verdicts are told once, to a hook and to the log, and the figures stay bounded."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from backstay._base import LeakFound, leak_found
from backstay.leak import Finding, Report, Watch

ONE = Finding(
    verdict="STUCK", count=3, alive=4, task_name="notify", site="a.py:7", function="create",
    owner="request POST /x", age=9.5, blocked_on="queue get at a.py:3", held_by="a set in a.kept",
    trace_ids=("t1", "t2"), advice="Start them elsewhere.", impact=3.0, slope_per_s=None,
    detail=("why",), bytes_each=1000,
)  # fmt: skip


def report(*findings: Finding) -> Report:
    return Report(findings, 10, 0, 0.0, None, None, 0.0, 0.0, "judged", 0.0, ())


def test_what_is_new_is_told_once_and_again_when_it_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the trace ids, as text and as attributes of the record."""
    watch = Watch()
    heard: list[LeakFound] = []
    stop = leak_found.subscribe(heard.append)
    with caplog.at_level(logging.INFO, "backstay.leak"):
        assert watch.see(report(ONE)) == (ONE,)
        assert watch.see(report(replace(ONE, count=5))) == ()
        assert watch.see(report()) == ()
        assert watch.see(report(ONE, replace(ONE, verdict="ORPHAN"))) != ()
    stop()
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "WARNING", "WARNING"]
    first = caplog.records[0]
    assert "STUCK: 3 tasks started at a.py:7 wait for queue get" in first.getMessage()
    assert "t1, t2" in first.getMessage()
    assert (first.trace_ids, first.bytes_held) == (("t1", "t2"), 3000)
    assert [one.verdict for one in heard] == ["STUCK", "STUCK", "ORPHAN"]
    assert (heard[0].count, heard[0].advice) == (3, "Start them elsewhere.")
    seen = watch.statistics()
    assert (seen.reports, seen.told, seen.withdrawn) == (4, 3, 1)
    assert dict(seen.findings) == {"STUCK": 1, "ORPHAN": 1}
    assert dict(seen.tasks) == {("STUCK", "a.py:7"): 3, ("ORPHAN", "a.py:7"): 3}
    assert seen.bytes_held == 6000


def test_it_can_be_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The hook is served all the same."""
    heard: list[LeakFound] = []
    stop = leak_found.subscribe(heard.append)
    Watch(log=False).see(report(ONE))
    stop()
    assert (len(heard), caplog.records) == (1, [])


def test_labels_do_not_grow_with_the_leak() -> None:
    """Beyond fifty sites the tasks are counted together."""
    watch = Watch(log=False)
    watch.see(report(*(replace(ONE, site=f"a.py:{k}") for k in range(200))))
    tasks = watch.statistics().tasks
    assert len(tasks) == 51
    assert tasks["STUCK", "other"] == 150 * 3
