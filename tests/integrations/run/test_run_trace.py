"""`backstay trace` of real processes: what is being recorded, what was, and what cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb  # type: ignore[import-untyped]
from real_processes import Command, Start, in_background, line_of

pytestmark = pytest.mark.slow

RUN = ("run", "--admin", "own.sock", "--port", "0", "--lame-duck", "0")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_last_seconds_of_a_recorded_process(
    start: Start, backstay: Command, room: Path, loop: str
) -> None:
    """Who held the loop, the path of one request, and a file that Perfetto reads; after the fact."""
    process = start(*RUN, "--loop", loop, "web:app", "--record")
    process.wait_for("listening")
    connection = process.connect()
    traced = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    connection.request("GET", "/slow/0.05", headers=traced)
    assert connection.getresponse().read()
    connection.close()
    assert process.get("/block/0.3")[0] == 200
    told = json.loads(backstay("trace", "own.sock", "--last", "20", "--json").stdout)
    assert told["recording"] is True
    assert told["longest"][0]["step_s"] >= 0.3
    assert told["step"][2] == told["longest"][0]["step_s"]
    assert told["availability"][2] == {"window_s": 0.1, "least_free": 0.0}
    seen = backstay("trace", "own.sock", "--last", "20", "--request", TRACE_ID)
    assert seen.returncode == 0, seen.stderr
    assert "Critical path of the request" in seen.stdout
    saved = backstay("trace", "own.sock", "--last", "20", "-o", "t.pftrace")
    assert saved.returncode == 0, saved.stderr
    assert "open it in https://ui.perfetto.dev" in saved.stderr
    trace = pb.Trace()
    trace.ParseFromString((room / "t.pftrace").read_bytes())
    names = {one.track_descriptor.name for one in trace.packet if one.HasField("track_descriptor")}
    assert "event loop 0: steps" in names
    lasted = {}
    for one in trace.packet:
        if one.HasField("track_event") and one.track_event.type in (1, 2):
            began = lasted.get(one.track_event.track_uuid, 0)
            lasted[one.track_event.track_uuid] = max(began, one.timestamp)
    assert lasted


def test_a_process_that_records_nothing_records_on_demand(start: Start, backstay: Command) -> None:
    """For as long as asked, and then the loop is as before; its last seconds cannot be had."""
    process = start(*RUN, "web:app")
    process.wait_for("listening")
    late = backstay("trace", "own.sock", "--last", "5")
    assert late.returncode == 2
    assert "backstay run --record" in late.stderr
    assert late.stderr.count("\n") == 1
    asked = in_background(lambda: backstay("trace", "own.sock", "--seconds", "2"))
    for _ in range(12):
        assert process.get("/slow/0.1")[0] == 200
    told = asked()
    assert told.returncode == 0, told.stderr
    assert "Who woke whom" in told.stdout
    again = backstay("trace", "own.sock", "--seconds", "0.2", "--json")
    assert json.loads(again.stdout)["recording"] is True


def test_wrong_use_is_one_line(backstay: Command) -> None:
    """And exit code 2."""
    for words in (
        ("trace", "own.sock"),
        ("trace", "own.sock", "--last", "1", "--seconds", "1"),
        ("trace", "own.sock", "--request", "xyz"),
        ("trace", "own.sock", "--json", "-o", "file"),
        ("trace", "own.sock", "--last", "0"),
    ):
        told = backstay(*words)
        assert told.returncode == 2, words
        assert told.stderr.strip().count("\n") <= 1, told.stderr


def test_a_slow_request_leaves_a_recording(start: Start, backstay: Command, room: Path) -> None:
    """A file appears by itself; it is listed, fetched and read, names the blocking line, and opens in Perfetto."""
    words = ("--record-on", "slow=200ms", "--record-dir", "kept", "--record-every", "60")
    process = start(*RUN, "--block-limit", "0.05", *words, "web:app")
    process.wait_for("listening")
    none = backstay("trace", "own.sock", "--recordings")
    assert "nothing of slow=0.2s has happened" in none.stdout
    connection = process.connect()
    traced = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    connection.request("GET", "/block/0.3", headers=traced)
    assert connection.getresponse().read()
    connection.close()
    process.wait_for(r"recorded kept/\S+-slow-")
    assert process.get("/block/0.3")[0] == 200  # too soon: it is counted, no more
    (file,) = (room / "kept").iterdir()
    assert f"-slow-{TRACE_ID}-{process.pid}.recording" in file.name
    assert file.stat().st_mode & 0o777 == 0o600
    listed = json.loads(backstay("trace", "own.sock", "--recordings", "--json").stdout)
    assert [one["name"] for one in listed["recordings"]] == [file.name]
    assert listed["passed_over"] == {"slow": 1}
    assert file.name in backstay("trace", "own.sock", "--recordings").stdout
    for told in (
        backstay("trace", f"kept/{file.name}"),
        backstay("trace", "own.sock", "--recording", file.name),
    ):
        assert told.returncode == 0, told.stderr
        assert "longer than 0.2 s" in told.stdout
        assert f"app at {room}/{line_of('time.sleep(float')}" in told.stdout
        assert "Critical path of the request" in told.stdout
    saved = backstay("trace", f"kept/{file.name}", "-o", "t.pftrace")
    assert saved.returncode == 0, saved.stderr
    trace = pb.Trace()
    trace.ParseFromString((room / "t.pftrace").read_bytes())
    assert any(one.track_descriptor.name == "event loop 0: steps" for one in trace.packet)


def test_a_shutdown_that_overruns_leaves_a_recording(start: Start, room: Path) -> None:
    """Also when the loop is blocked to the end and the process has to be ended from outside of it."""
    words = ("--record-on", "shutdown", "--record-dir", "kept", "--grace", "0.5")
    process = start(*RUN, *words, "web:app")
    process.wait_for("listening")
    connection = process.connect()
    connection.request("GET", "/block/30")
    process.wait_for("at /block")
    process.popen.terminate()
    process.wait_for("did not end within its grace")
    assert process.popen.wait(10) == 1
    connection.close()
    (file,) = (room / "kept").iterdir()
    assert "-shutdown-notrace-" in file.name


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ("--record-on", "slo=1s"),
            "'slo' is no trigger: there are slow=DURATION, blocked, breaker",
        ),
        (("--record-on", "slow"), "write slow=500ms"),
        (("--record-on", "slow=fast"), "has no duration above 0"),
        (("--record-on", "growth=2s"), "write growth alone"),
        (("--record-on", ","), "no trigger is named"),
        (("--record-on", "blocked,blocked"), "given twice"),
        (("--record-on", "blocked", "--no-sysmon"), "contradict each other"),
        (("--record-on", "leak", "--leak-interval", "0"), "need the census"),
        (("--record-dir", "kept"), "add --record-on"),
        (("--record-on", "blocked", "--record-dir", "web.py/x"), "cannot make the directory"),
    ],
)
def test_wrong_triggers_are_one_line(
    backstay: Command, words: tuple[str, ...], reason: str
) -> None:
    """What was seen, what there is, what to do; the process does not start."""
    told = backstay(*RUN, *words, "web:app")
    assert told.returncode == 2
    assert reason in told.stderr
    assert "Traceback" not in told.stderr


def test_what_is_no_recording_is_said_in_one_line(backstay: Command, room: Path) -> None:
    """A file of something else, a name that is none, and a process that makes none."""
    (room / "broken.recording").write_bytes(b"\x1f\x8b nothing")
    for words, reason in (
        (("web.py",), "is not a recording of ours"),
        (("broken.recording",), "is not a recording of ours"),
        (("web.py", "--last", "5"), "is a file"),
        (("own.sock", "--recordings", "-o", "x"), "--recordings lists them"),
        (("own.sock", "--recording", "../x"), "is not the name of one"),
    ):
        told = backstay("trace", *words)
        assert told.returncode == 2, words
        assert reason in told.stderr
        assert told.stderr.strip().count("\n") == 0, told.stderr
