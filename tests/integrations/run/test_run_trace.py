"""`backstay trace` of real processes: what is being recorded, what was, and what cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb  # type: ignore[import-untyped]
from real_processes import Command, Start, in_background

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
