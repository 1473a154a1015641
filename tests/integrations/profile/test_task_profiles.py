"""Task and leak profiles of a real process, read by Go's own tool from a file and from the URL."""

from __future__ import annotations

import json
import time
import urllib.error
from pathlib import Path

import pytest
from go_pprof import go_pprof
from profiled import LOOPS, profiled

from backstay.observe.profile import from_pprof

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", ["task", "goroutine"])
def test_all_tasks_by_await_chain(loop: str, name: str) -> None:
    """25 consumers are one sample with owner, spawn site, what they wait for and the whole chain."""
    with profiled("waiting", loop) as process:
        profile = from_pprof(process.get(f"/debug/pprof/{name}"))
        text = process.get(f"/debug/pprof/{name}?debug=1").decode()
        full = process.get(f"/debug/pprof/{name}?debug=2").decode()
    (consumers,) = [sample for sample in profile.samples if sample.values == (25,)]
    assert [frame.function for frame in consumers.stack] == ["Queue.get", "pulling"]
    labels = dict(consumers.labels)
    assert (labels["owner"], labels["wait"]) == ("consumers", "queue get")
    assert "profiled.py:" in str(labels["site"])
    assert text.startswith("task profile: total ")
    assert "\n25 @ site=" in text
    assert full.count("\npulling(...)\n") == 25
    assert "owner: consumers\n" in full


def test_leaked_tasks_are_proved() -> None:
    """Exactly the four that nothing can wake, in each form; `go tool pprof` finds their line."""
    with profiled("waiting") as process:
        top = go_pprof("-top", f"{process.url}/debug/pprof/goroutineleak")
        text = process.get("/debug/pprof/taskleak?debug=1").decode()
        full = process.get("/debug/pprof/taskleak?debug=2").decode()
    assert "Showing nodes accounting for 4, 100% of 4 total" in top
    assert "never" in top
    assert text.startswith("taskleak profile: total 4\n")
    assert "state=STUCK" in text
    assert full.count("\ncreated by waiting") == 4


def test_go_reads_it_from_a_file_and_from_the_url(tmp_path: Path) -> None:
    """-top counts the tasks, -raw finds nothing to complain about, -tags shows the labels."""
    with profiled("waiting") as process:
        file = tmp_path / "task.pb.gz"
        file.write_bytes(process.get("/debug/pprof/task"))
        from_url = go_pprof("-top", f"{process.url}/debug/pprof/goroutine")
        delta = go_pprof("-top", "-seconds", "1", f"{process.url}/debug/pprof/task")
    top = go_pprof("-top", str(file))
    for shown in (top, from_url):
        assert "Type: tasks" in shown
        assert any(
            line.split()[0] == "25" and "Queue.get" in line for line in shown.splitlines()[4:]
        )
    raw = go_pprof("-raw", str(file))
    assert "[FN][FL][LN]" in raw
    assert "wait:[queue get]" in raw
    assert "owner:" in go_pprof("-tags", str(file))
    assert "Queue.get" not in delta  # nothing has changed in that second


def test_go_shows_our_refusals() -> None:
    """An unknown name is a 404 with Go's header, wrong parameters are a 400."""
    with profiled("waiting") as process:
        for path, status in (
            ("nothing", 404),
            ("task?seconds=1&debug=1", 400),
            ("task?debug=9", 400),
        ):
            with pytest.raises(urllib.error.HTTPError) as caught:
                process.get(f"/debug/pprof/{path}")
            assert caught.value.code == status
            assert caught.value.headers["X-Go-Pprof"] == "1"
            assert caught.value.headers["X-Content-Type-Options"] == "nosniff"
            caught.value.close()


def test_others_are_served_while_a_profile_is_made() -> None:
    """The plane answers at once while two profiles take their seconds; a third of a kind gets 409."""
    from concurrent.futures import ThreadPoolExecutor

    with profiled("waiting") as process, ThreadPoolExecutor(2) as pool:
        task = pool.submit(process.get, "/debug/pprof/task?seconds=2")
        leaks = pool.submit(process.get, "/debug/pprof/taskleak?seconds=1")
        time.sleep(0.5)
        before = time.monotonic()
        assert json.loads(process.get("/livez"))["alive"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            process.get("/debug/pprof/task")
        assert time.monotonic() - before < 1
        assert caught.value.code == 409
        caught.value.close()
        assert from_pprof(task.result(10)).samples == ()
        assert from_pprof(leaks.result(10)).samples == ()
