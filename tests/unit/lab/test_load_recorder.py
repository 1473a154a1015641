"""The columns of a run and what is read from them."""

from __future__ import annotations

import json
from array import array

import pytest

from backstay.lab.load import LoadOptions, LoadResult, Schedule, Window
from backstay.lab.load._recorder import Recorder
from backstay.lab.load._summarise import RunFacts, summarise


def recorder(*starts: float) -> Recorder:
    """Return a recorder for these intended starts in ten seconds."""
    return Recorder(Schedule(array("d", starts), 10.0, "f"))


def facts() -> RunFacts:
    """Return what the recorder cannot know."""
    return RunFacts(100.0, 1.7e9, (), cpu_s=0.4, connections_opened=3, loop="asyncio")


def options(**changes: object) -> LoadOptions:
    """Return options of ten seconds, changed."""
    return LoadOptions(**{"base_url": "http://h", "rate": 1.0, "duration_s": 10.0, **changes})  # type: ignore[arg-type]


def test_a_second_counts_starts_by_intention_and_ends_by_time() -> None:
    """A request of second 0 that ends in second 1 is sent in one and done in the other."""
    rows = recorder(0.1, 0.9, 1.5)
    for index in range(3):
        rows.begin(index, "read", unaffected=True, lag_s=0.0)
    rows.end(0, 0.2, 0.1, None)
    first = rows.close_second(0)
    rows.end(1, 1.9, 1.0, "timeout")
    rows.end(2, 1.95, 0.45, None)
    second = rows.close_second(1)
    assert (first.sent, first.done, first.ok, first.failed, first.outstanding) == (2, 1, 1, 0, 2)
    assert (second.sent, second.done, second.ok, second.failed) == (1, 2, 1, 1)
    assert (second.p50_s, second.p99_s) == (0.45, 1.0)


def test_a_second_in_which_nothing_ended_has_no_latency() -> None:
    """No figure is better than a zero that looks like a very fast service."""
    silent = recorder(0.1).close_second(0)
    assert (silent.done, silent.p50_s, silent.p99_s) == (0, None, None)


def test_groups_follow_kind_window_warmup_and_fault() -> None:
    """Each request counts in its kind and windows; the warm-up counts nowhere but in windows."""
    rows = recorder(0.5, 2.0, 3.0, 4.0)
    for index, (kind, unaffected) in enumerate(
        [("create", False), ("create", False), ("read", True), ("read", True)]
    ):
        rows.begin(index, kind, unaffected=unaffected, lag_s=0.001)
    rows.end(0, 0.6, 0.1, None)
    rows.end(1, 2.2, 0.2, "503")
    rows.end(2, 3.3, 0.3, None)
    rows.end(3, 4.4, 0.4, "reset")
    windows = (Window("early", 0.0, 2.5), Window("late", 2.5, 10.0))
    found = summarise(options(warmup_s=1.0, windows=windows), rows, facts())
    assert (found.overall.requests, found.overall.ok) == (3, 1)
    assert dict(found.overall.errors) == {"503": 1, "reset": 1}
    assert found.overall.success_rate == pytest.approx(1 / 3)
    assert list(found.kinds) == ["create", "read"]
    assert (found.kinds["create"].requests, found.kinds["create"].ok) == (1, 0)
    assert (found.unaffected.requests, found.unaffected.ok) == (2, 1)
    assert (found.windows["early"].requests, found.windows["late"].requests) == (2, 2)
    assert found.overall.latency.max_s == 0.4
    assert found.overall.latency_ok.max_s == 0.3
    assert found.offered_rps == pytest.approx(3 / 9)
    assert found.achieved_rps == pytest.approx(1 / 9)
    assert found.cpu_s_per_request == pytest.approx(0.1)
    assert found.valid


def test_a_reply_after_the_end_does_not_count_as_achieved() -> None:
    """A service that works its queue off afterwards did not sustain the rate."""
    rows = recorder(9.5)
    rows.begin(0, "read", unaffected=True, lag_s=0.0)
    rows.end(0, 10.5, 1.0, None)
    found = summarise(options(), rows, facts())
    assert found.overall.ok == 1
    assert found.achieved_rps == 0.0


def test_rows_that_never_ended_are_left_out() -> None:
    """A run that was cut short summarises what it knows, and is not valid."""
    rows = recorder(0.5, 1.0)
    rows.begin(0, "read", unaffected=True, lag_s=0.0)
    found = summarise(options(), rows, facts())
    assert found.overall.requests == 0
    assert found.overall.success_rate == 1.0
    assert not found.valid
    assert "began 1 of 2" in found.reasons[0]


def test_a_result_survives_json() -> None:
    """What the worker sends is what the lab reads, to the microsecond."""
    rows = recorder(0.5, 2.0)
    for index in range(2):
        rows.begin(index, "read", unaffected=True, lag_s=0.001)
        rows.end(index, 3.0, 0.123456, None)
    found = summarise(options(windows=(Window("w", 0.0, 1.0),)), rows, facts())
    again = LoadResult.from_json(json.loads(json.dumps(found.to_json())))
    assert again.to_json() == found.to_json()
    assert again.options == found.options
    assert again.overall.latency.p50_s == pytest.approx(0.123456, rel=1e-3)


def test_the_histogram_can_be_read_by_others() -> None:
    """The encoded histogram decodes with the package itself."""
    from hdrh.histogram import HdrHistogram

    rows = recorder(0.5)
    rows.begin(0, "read", unaffected=True, lag_s=0.0)
    rows.end(0, 0.6, 0.1, None)
    decoded = HdrHistogram.decode(summarise(options(), rows, facts()).histogram)
    assert decoded.get_total_count() == 1
    assert decoded.get_max_value() == pytest.approx(100_000, rel=1e-3)
