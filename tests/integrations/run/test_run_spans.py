"""`backstay run --spans` and `backstay spans`: each request of a real process is a span, and is read back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from real_processes import Command, Start

pytestmark = pytest.mark.slow

RUN = ("run", "--admin", "off", "--port", "0", "--lame-duck", "0")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_requests_of_a_real_process_are_spans(start: Start, backstay: Command, room: Path) -> None:
    """The table tells how many and how slow; the waterfall shows one, by the trace id of its caller."""
    process = start(*RUN, "--spans", "web.jsonl", "web:app")
    process.wait_for("listening")
    for _ in range(3):
        assert process.get("/slow/0.01")[0] == 200
    connection = process.connect()
    connection.request(
        "GET", "/slow/0.2", headers={"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    )
    assert connection.getresponse().read()
    connection.close()
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    (row,) = json.loads(backstay("spans", "web.jsonl", "--json").stdout)
    assert (row["service"], row["requests"], row["spans_each"]) == ("web:app", 4, 1.0)
    assert row["p99_s"] >= 0.2
    assert row["errors"] == 0.0
    seen = backstay("spans", ".", "--trace", TRACE_ID)
    assert seen.returncode == 0, seen.stderr
    assert "web:app: GET" in seen.stdout  # a plain application tells no route
    assert "(its parent is not here)" in seen.stdout  # the caller's span is in nobody's file


def test_a_file_that_cannot_be_written_is_one_line(backstay: Command) -> None:
    """Before anything is served, and exit code 2."""
    told = backstay(*RUN, "--spans", "nowhere/web.jsonl", "web:app")
    assert told.returncode == 2
    assert "--spans: cannot write 'nowhere/web.jsonl'" in told.stderr
    assert told.stderr.count("\n") == 1
