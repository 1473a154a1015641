"""`backstay diagnose` against real processes: leaky, healthy, blocked."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_processes import Command, Process, Start, document, in_background, line_of

pytestmark = pytest.mark.slow

#: Growth is judged from 20 s of samples on, and 25 of them, which a busy machine takes longer for.
SECONDS = "24"


@contextmanager
def load(process: Process, path: str, per_s: float, trace: str = "") -> Generator[list[str]]:
    """Ask for `path` at a steady rate in the background; yields the trace ids that were sent."""
    over = threading.Event()
    sent: list[str] = []

    def ask() -> None:
        connection = process.connect()
        while not over.wait(1 / per_s):
            trace_id = f"{trace}{len(sent):0{32 - len(trace)}x}"
            try:
                connection.request(
                    "GET", path, headers={"traceparent": f"00-{trace_id}-{'1' * 16}-01"}
                )
                connection.getresponse().read()
                sent.append(trace_id)
            except (OSError, http.client.HTTPException):
                connection.close()
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join(15)


def test_a_leak_under_load_is_the_first_finding(
    start: Start, backstay: Command, room: Path
) -> None:
    """The line, the growth, the await site, and requests whose tasks are alive; as JSON and as a page."""
    process = start("run", "--admin", "own.sock", "--port", "0", "web:app")
    process.wait_for("listening")
    with load(process, "/slow/0.01", 10), load(process, "/leak", 8, trace="abc") as leaked:
        told = backstay(
            "diagnose", "own.sock", "--seconds", SECONDS, "--json", "-o", "r.html", timeout=60
        )
    assert told.returncode == 1, told.stderr
    found = document(told)
    first = found["findings"][0]
    assert first["verdict"] == "GROWING"
    assert first["site"] == line_of('"/leak"')
    assert first["function"] == "app"
    assert first["per_s"] > 3
    assert line_of("asyncio.Event().wait()") in first["blocked_on"]
    assert first["trace_ids"]
    assert set(first["trace_ids"]) <= set(leaked)
    assert first["page"] == "docs/reference/verdicts/growing.md"
    page = (room / "r.html").read_text()
    assert first["site"] in page
    assert first["trace_ids"][0] in page


def test_a_healthy_service_is_not_accused(start: Start, backstay: Command) -> None:
    """Not even while its load rises and tasks become more."""
    process = start("run", "--admin", "own.sock", "--port", "0", "web:app")
    assert process.port
    with load(process, "/slow/0.01", 20):
        asked = in_background(
            lambda: backstay("diagnose", "own.sock", "--seconds", SECONDS, timeout=60)
        )
        time.sleep(10)
        with load(process, "/slow/0.2", 30), load(process, "/slow/0.3", 30):
            told = asked()
    assert told.returncode == 0, told.stdout
    assert "nothing found" in told.stdout
    assert "could not be judged" not in told.stdout


def test_what_blocks_the_loop_is_named(start: Start, backstay: Command) -> None:
    """Function and line of a synchronous call that takes 7 s; the report comes meanwhile."""
    process = start("run", "--admin", "own.sock", "--port", "0", "web:app")
    process.wait_for("listening")
    stuck = in_background(lambda: process.get("/block/7"))
    process.wait_for("at /block/7")
    told = backstay("diagnose", "own.sock", "--seconds", "1", "--json")
    assert stuck()[0] == 200
    assert told.returncode == 1, told.stdout
    first = document(told)["findings"][0]
    assert (first["verdict"], first["function"]) == ("BLOCKED", "app")
    assert first["site"].endswith(line_of("time.sleep(float(path[7:]))"))
    assert "right now" in first["headline"]
    later = document(backstay("diagnose", "own.sock", "--seconds", "1", "--json"))["findings"][0]
    assert later["site"] == first["site"]
    assert later["evidence"][0].startswith("1 time")


def test_a_target_that_is_gone_is_a_wrong_use(backstay: Command) -> None:
    """Exit code 2, and one line that says why."""
    told = backstay("diagnose", "nowhere.sock")
    assert told.returncode == 2
    assert told.stderr.startswith("backstay diagnose: no socket at 'nowhere.sock'")
    assert told.stderr.count("\n") == 1


def test_an_alert_brings_its_own_report(start: Start, room: Path) -> None:
    """What Alertmanager posts is answered at once, and a page names the line that leaks."""
    process = start("run", "--admin", "own.sock", "--port", "0", "web:app")
    process.wait_for("listening")
    receiver = start(
        *("diagnose", "--listen", "127.0.0.1:0", "--target", "own.sock"),
        *("--seconds", SECONDS, "-o", "found"),
    )
    address = receiver.wait_for(r"listening on http://127\.0\.0\.1:(\d+)/alerts")
    with load(process, "/leak", 8, trace="abc") as leaked:
        assert post(int(address[1]), MESSAGE) == (202, {"firing": 1, "reports": 1})
        assert post(int(address[1]), MESSAGE) == (202, {"firing": 1, "reports": 0}), "sent again"
        receiver.wait_for(r"BackstayTasksPileUp: 1 findings: found/\S+\.html", timeout=50)
    (path,) = (room / "found").glob("*-BackstayTasksPileUp-*.json")
    made = json.loads(path.read_text())
    assert made["findings"][0]["site"] == line_of('"/leak"')
    assert set(made["findings"][0]["trace_ids"]) <= set(leaked)
    assert made["alert"]["annotation summary"] == "tasks & <more> tasks"
    page = path.with_suffix(".html").read_text()
    assert line_of('"/leak"') in page
    assert "tasks &amp; &lt;more&gt; tasks" in page
    receiver.signal(signal.SIGTERM)
    assert receiver.end() == 0
    assert sorted(one.suffix for one in (room / "found").iterdir()) == [".html", ".json", ".txt"]


def post(port: int, message: object) -> tuple[int, object]:
    """Send a webhook as Alertmanager does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            "POST",
            "/alerts",
            json.dumps(message),
            {"Content-Type": "application/json", "User-Agent": "Alertmanager/0.27.0"},
        )
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


MESSAGE = {
    "version": "4",
    "groupKey": '{}:{alertname="BackstayTasksPileUp"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "backstay",
    "groupLabels": {"alertname": "BackstayTasksPileUp"},
    "commonLabels": {"alertname": "BackstayTasksPileUp", "job": "shop"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "BackstayTasksPileUp", "job": "shop", "instance": "web-1"},
            "annotations": {"summary": "tasks & <more> tasks"},
            "startsAt": "2026-01-01T03:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph",
            "fingerprint": "c6c5a4f5ac36a9a3",
        },
        {"status": "resolved", "labels": {"alertname": "Other"}, "fingerprint": "1"},
    ],
}
