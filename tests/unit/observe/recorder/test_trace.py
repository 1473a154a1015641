"""What is said of a trace, and how it is written: plain values in, documents and files out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb  # type: ignore[import-untyped]

from backstay.observe.desk import Errand, Reply, Request
from backstay.observe.recorder import (
    RecorderDesk,
    Region,
    Step,
    Trace,
    TraceTask,
    analyse,
    to_perfetto,
    to_text,
)

TASKS = (
    TraceTask("Task-1", "handle", "web.py:10", "GET /", "a" * 32, 0, False, "lock 'stock'"),
    TraceTask("Task-2", "audit", "web.py:20", "GET /", "a" * 32, 0, True, ""),
    TraceTask("Task-3", "other", "job.py:3", "", "", 0, True, ""),
)
# Task-3 holds the loop; Task-1 wakes Task-2, which wakes Task-1.
STEPS = (
    Step(0.0, 0.1, 0.2, 0, -1, 0),
    Step(0.15, 0.2, 0.6, 2, -1, 0),
    Step(0.18, 0.6, 0.7, 1, 0, 0),
    Step(0.65, 0.7, 0.8, 0, 1, 0),
    Step(0.8, 0.8, 0.85, -1, -1, 0),
)
TRACE = Trace(True, 0.0, 1.0, 7, STEPS, TASKS)


def test_percentiles_and_the_longest() -> None:
    """Ready is from being scheduled to being run; a step is how long the loop was held."""
    assert TRACE.ready_latency(0.5, 1.0) == pytest.approx([0.05, 0.42])
    assert TRACE.step_duration(1.0) == pytest.approx([0.4])
    assert TRACE.longest(1) == [STEPS[1]]
    assert Trace(True, 0.0, 0.0, 0, (), ()).ready_latency(0.5) == [0.0]


def test_the_critical_path_of_a_request() -> None:
    """From its last step back to the one that has woken it, and so on."""
    assert TRACE.path_of("a" * 32) == [STEPS[0], STEPS[2], STEPS[3]]
    assert TRACE.path_of("b" * 32) == []


def test_a_path_begins_with_its_request() -> None:
    """A worker that has run for ever is in it once, and a step under way is not its own cause."""
    worker = [Step(at - 0.5, float(at), at + 0.25, 2, 2, 0) for at in range(1, 20_000)]
    last = worker[-1]
    mine = Step(last.begin, last.end, last.end + 1, 0, 2, 0)
    now = Step(mine.end + 1, mine.end + 1, mine.end + 2, 0, -1, 0, lasts=True)
    trace = Trace(True, 0.0, now.end, 0, (*worker, mine, now), TASKS)
    assert trace.path_of("a" * 32) == [last, mine, now]


def test_availability_at_the_worst() -> None:
    """A window that lies in a step has nothing free; the whole second has what is free of it."""
    told = dict(TRACE.availability([0.1, 0.7, 1.0, 5.0]))
    assert told[0.1] == pytest.approx(0.0)
    assert told[0.7] == pytest.approx(0.0)
    assert told[1.0] == pytest.approx(0.25)
    assert told[5.0] == told[1.0]


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Make steps that follow each other."""
    at, steps = 0.0, []
    for _ in range(draw(st.integers(0, 12))):
        begin = at + draw(st.sampled_from([0.0, 0.5, 1.0, 3.0]))
        end = begin + draw(st.sampled_from([0.0, 0.25, 1.0, 2.0]))
        ready = draw(st.floats(0.0, 1.0)) * begin
        task = draw(st.integers(-1, 2))
        steps.append(Step(ready, begin, end, task, draw(st.integers(-1, 2)), 0))
        at = end
    return Trace(True, 0.0, at + 1.0, 0, tuple(steps), TASKS)


def test_a_clock_that_has_run_for_long_leaves_no_rest_of_rounding() -> None:
    """A loop that was held is told as 0 free, and not as a millionth of a millionth."""
    for uptime in (0.3, 2334.176812349, 86_400.1, 9e6 + 0.7):
        step = Step(uptime, uptime, uptime + 0.3, -1, -1, 0)
        after = Step(uptime + 0.5, uptime + 0.5, uptime + 0.6, -1, -1, 0)
        trace = Trace(True, uptime, uptime + 1.0, 0, (step, after), ())
        assert trace.availability([0.1]) == [(0.1, 0.0)], uptime


@given(traces(), st.sampled_from([0.1, 0.7, 1.0, 2.5, 10.0]))
def test_availability_agrees_with_trying_all_windows(trace: Trace, window: float) -> None:
    """Windows at every hundredth of a second find nothing less free."""
    ((_, least),) = trace.availability([window])
    window = min(window, trace.to_s)

    def free(since: float) -> float:
        held = sum(
            max(0.0, min(one.end, since + window) - max(one.begin, since)) for one in trace.steps
        )
        return 1.0 - held / window

    tries = [at / 20 for at in range(int((trace.to_s - window) * 20) + 1)]
    worst = min((free(since) for since in tries), default=1.0)
    assert 0.0 <= least <= worst + 1e-9


def test_the_report_for_a_terminal() -> None:
    """Names, lines and durations, worst first."""
    text = to_text(analyse(TRACE, "a" * 32))
    assert "5 steps of 3 tasks in 1 s; 7 older ones are overwritten" in text
    assert "400 ms  other  job.py:3" in text
    assert "1  handle -> audit" in text
    assert "Critical path" in text
    empty = to_text(analyse(Trace(False, 0.0, 0.0, 0, (), ())))
    assert "0 steps of 0 tasks" in empty
    assert "recording has stopped" in empty


def test_the_timeline_of_the_pages() -> None:
    """Tracks of the busiest tasks, and who woke whom among them."""
    told = TRACE.to_timeline(top=2)
    assert [track["task"] for track in told["tracks"]] == ["Task-2", "Task-3"]
    assert told["tracks"][0]["steps"] == [[0.18, 0.6, 0.7, -1]], "its waker is not shown"
    assert told["longest"][0] == {"task": "Task-3", "site": "job.py:3", "s": 0.4, "at": 0.2}
    assert (told["recording"], told["lost"], told["from"], told["to"]) == (True, 7, 0.0, 1.0)


def read(data: bytes) -> pb.Trace:
    found = pb.Trace()
    found.ParseFromString(data)
    return found


def test_perfetto_reads_it() -> None:
    """With its own classes: tracks in groups, slices, arrows, the counter, the request."""
    found = read(to_perfetto(TRACE))
    tracks = {
        one.track_descriptor.uuid: one.track_descriptor
        for one in found.packet
        if one.HasField("track_descriptor")
    }
    names = {track.name: track for track in tracks.values()}
    task = names["handle web.py:10 Task-1"]
    assert tracks[task.parent_uuid].name == "owner GET /"
    assert names["event loop 0: ready"].HasField("counter")
    events = [one for one in found.packet if one.HasField("track_event")]
    assert [one.timestamp for one in events] == sorted(one.timestamp for one in events)
    assert {one.trusted_packet_sequence_id for one in found.packet} == {1}
    begin, end = pb.TrackEvent.TYPE_SLICE_BEGIN, pb.TrackEvent.TYPE_SLICE_END
    mine = [one for one in events if one.track_event.track_uuid == task.uuid]
    shown = [one.track_event.name for one in mine if one.track_event.type == begin]
    assert shown == ["ready", "run", "wakes", "wait", "ready", "run", "wait lock 'stock'"]
    assert sum(one.track_event.type == end for one in mine) == len(shown)
    starts = {flow for one in events for flow in one.track_event.flow_ids}
    ends = {flow for one in events for flow in one.track_event.terminating_flow_ids}
    assert starts == ends
    assert len(starts) == 2
    notes = [note for one in mine for note in one.track_event.debug_annotations]
    assert {(note.name, note.string_value) for note in notes} == {("trace_id", "a" * 32)}
    counts = [
        one.track_event.counter_value
        for one in events
        if one.track_event.type == pb.TrackEvent.TYPE_COUNTER
    ]
    assert max(counts) == 2
    assert counts[-1] == 0


@given(traces())
def test_slices_of_a_track_are_nested(trace: Trace) -> None:
    """Each end has its begin, on every track."""
    depth: dict[int, int] = {}
    for one in read(to_perfetto(trace)).packet:
        event = one.track_event
        change = {pb.TrackEvent.TYPE_SLICE_BEGIN: 1, pb.TrackEvent.TYPE_SLICE_END: -1}
        depth[event.track_uuid] = depth.get(event.track_uuid, 0) + change.get(event.type, 0)
        assert depth[event.track_uuid] >= 0
    assert not any(depth.values())


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        ("/v1/trace", {}, 409, "--record"),
        ("/v1/trace", {"last": "0"}, 400, "above 0"),
        ("/v1/trace", {"last": "61"}, 400, "up to 60"),
        ("/v1/trace", {"last": "x"}, 400, "above 0"),
        ("/v1/trace", {"last": "nan"}, 400, "above 0"),
        ("/v1/trace", {"last": "1", "seconds": "1"}, 400, "contradict"),
        ("/v1/trace/more", {}, 404, "no document"),
        ("/debug/pprof/trace", {"last": "1"}, 409, "--record"),
        ("/v1/timeline", {"last": "1"}, 200, "--record"),
    ],
)
def test_what_the_desk_refuses(path: str, query: dict[str, str], status: int, says: str) -> None:
    """In one sentence; the page of the timeline gets a document that says why there is nothing."""
    reply = RecorderDesk().answer(Request(path, query))
    assert isinstance(reply, Reply)
    assert reply.status == status
    assert says in reply.body.decode()


def test_go_records_for_a_second_unless_told() -> None:
    """As `go tool trace` expects of the URL."""
    order = RecorderDesk().answer(Request("/debug/pprof/trace", {}))
    assert isinstance(order, Errand)
    assert order.longest_s == 1.0


def test_regions_are_told_by_name() -> None:
    """How often, how long, and how much of it its task ran, was ready, and waited for something else."""
    regions = (
        Region(0.1, 0.7, 1, "charge"),
        Region(0.15, 0.2, 1, "sign"),
        Region(0.9, 1.0, 1, "charge", lasts=True),
    )
    trace = Trace(True, 0.0, 1.0, 0, STEPS, TASKS, regions)
    charge, sign = analyse(trace)["regions"]
    assert (charge["region"], charge["count"], charge["lasting"]) == ("charge", 2, 1)
    assert charge["total_s"] == pytest.approx(0.7)
    assert charge["run_s"] + charge["ready_s"] + charge["wait_s"] == pytest.approx(0.7)
    mine = [step for step in STEPS if step.task == 1]
    run_s = sum(max(0.0, min(one.end, 0.7) - max(one.begin, 0.1)) for one in mine)
    assert charge["run_s"] == pytest.approx(run_s)
    assert sign["count"] == 1
    text = to_text(analyse(trace, "a" * 32))
    assert "charge" in text
    assert "(1 not over)" in text


def test_the_critical_path_names_the_regions() -> None:
    """Of each step those of its task that it lies in, the outermost first."""
    regions = (
        Region(0.0, 0.9, 0, "pay"),
        Region(0.7, 0.8, 0, "sign"),
        Region(0.0, 1.0, 1, "other"),
    )
    trace = Trace(True, 0.0, 1.0, 0, STEPS, TASKS, regions)
    path = analyse(trace, "a" * 32)["path"]
    assert [one["regions"] for one in path] == [["pay"], ["other"], ["pay", "sign"]]
    assert "[pay > sign]" in to_text(analyse(trace, "a" * 32))


def test_regions_have_a_track_below_their_task() -> None:
    """Slices that lie within each other; halves that overlap are cut at the end of the outer one."""
    regions = (
        Region(0.1, 0.5, 1, "outer"),
        Region(0.2, 0.6, 1, "half"),
        Region(0.7, 0.8, 1, "next"),
    )
    trace = pb.Trace()
    trace.ParseFromString(to_perfetto(Trace(True, 0.0, 1.0, 0, STEPS, TASKS, regions)))
    tracks = {
        one.track_descriptor.uuid: one.track_descriptor
        for one in trace.packet
        if one.HasField("track_descriptor")
    }
    (mine,) = (one for one in tracks.values() if one.name == "regions")
    assert tracks[mine.parent_uuid].name.startswith(TASKS[1].function)
    events = [
        (one.track_event.type, one.track_event.name, one.timestamp)
        for one in trace.packet
        if one.HasField("track_event") and one.track_event.track_uuid == mine.uuid
    ]
    begin, end = 1, 2
    ms = 1_000_000
    assert events == [
        (begin, "outer", 100 * ms),
        (begin, "half", 200 * ms),
        (end, "", 500 * ms),
        (end, "", 500 * ms),
        (begin, "next", 700 * ms),
        (end, "", 800 * ms),
    ]
