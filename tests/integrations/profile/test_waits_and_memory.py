"""Wall, block and heap profiles of real processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from go_pprof import go_pprof
from profiled import LOOPS, profiled

from backstay.observe.profile import Profile, Sample, from_pprof

pytestmark = pytest.mark.slow


def labelled(profile: Profile, name: str, value: str) -> list[Sample]:
    return [sample for sample in profile.samples if dict(sample.labels).get(name) == value]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("work", ["blocked", "spinning"])
def test_a_blocked_loop_is_named_while_it_is_blocked(work: str, loop: str) -> None:
    """By function and line, whether it sleeps in a system call or computes, and whoever runs the loop."""
    with profiled(work, loop) as process:
        time.sleep(0.6)
        profile = from_pprof(process.get("/debug/pprof/block?seconds=1"))
        text = process.get("/debug/pprof/block?debug=1").decode()
    (held,) = labelled(profile, "blocked", "loop")
    labels = dict(held.labels)
    function = "hold_the_loop" if work == "blocked" else "spin"
    assert function in {frame.function for frame in held.stack}
    assert (labels["state"], labels["task"]) == ("now", work)
    assert "profiled.py:" in str(labels["at"])
    if work == "blocked":
        source = Path(__file__).with_name("profiled.py").read_text().splitlines()
        line = int(str(labels["at"]).rpartition(":")[2])
        assert "the line that is to be named" in source[line - 1]
    # A loop that leaves hardly any time to others is watched with gaps, and less is certain.
    assert held.values[1] > (0.5e9 if work == "blocked" else 0)
    assert f"#\t{function}\t" in text
    assert "blocked=loop" in text


@pytest.mark.parametrize("loop", LOOPS)
def test_wait_time_is_told_by_await_site(loop: str) -> None:
    """25 consumers that wait for two seconds have waited for about fifty."""
    with profiled("waiting", loop) as process:
        profile = from_pprof(process.get("/debug/pprof/block?seconds=2"))
    waits = labelled(profile, "wait", "queue get")
    assert {dict(sample.labels)["blocked"] for sample in waits} == {"task"}
    assert 30e9 < sum(sample.values[1] for sample in waits) < 60e9


@pytest.mark.parametrize(
    ("work", "waiters"),
    [("contended_lock", 3), ("contended_mutex", 3), ("contended_semaphore", 2)],
)
@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_holder_does_is_told_with_the_time_of_those_who_wait(
    work: str, waiters: int, loop: str, tmp_path: Path
) -> None:
    """The slow call within the lock is named; the delay is that of all waiters together; Go's tool reads it."""
    with profiled(work, loop) as process:
        data = process.get("/debug/pprof/mutex?seconds=3")
        text = process.get("/debug/pprof/mutex?debug=1").decode()
    profile = from_pprof(data)
    assert profile.kinds == (("contentions", "count"), ("delay", "nanoseconds"))
    within = sum(
        sample.values[1]
        for sample in profile.samples
        if any(frame.function == "critical" for frame in sample.stack)
    )
    whole = profile.total()
    assert within > 0.9 * whole
    assert whole == pytest.approx(waiters * profile.duration_s * 1e9, rel=0.15)
    labels = dict(profile.samples[0].labels)
    assert labels["trace_id"] == "3" * 32
    assert labels["owner"] == "checkout"
    assert labels["contended"] in {"lock acquire", "mutex lock", "semaphore acquire"}
    assert "critical" in text
    file = tmp_path / "mutex.pb.gz"
    file.write_bytes(data)
    assert "critical" in go_pprof("-top", "-sample_index=delay", str(file))


@pytest.mark.parametrize("loop", LOOPS)
def test_wall_time_adds_up_to_the_lives_of_all_tasks(loop: str) -> None:
    """Few are looked at and all are counted: so many seconds of life as there are tasks."""
    with profiled("waiting", loop) as process:
        profile = from_pprof(process.get("/debug/pprof/wall?seconds=2"))
        top = go_pprof("-top", "-seconds", "1", f"{process.url}/debug/pprof/wall")
    tasks = 25 + 4 + 2
    assert 0.8 * tasks * 2e9 < profile.total() < 1.1 * tasks * 2e9
    consumers = sum(sample.values[1] for sample in labelled(profile, "owner", "consumers"))
    assert abs(consumers / profile.total() - 25 / tasks) < 0.1
    assert "Type: wall" in top


@pytest.mark.parametrize("loop", LOOPS)
def test_memory_of_c_code_is_told_by_the_line_that_called_it(loop: str, tmp_path: Path) -> None:
    """And the process is as before when the window is over: it takes a second one."""
    pytest.importorskip("memray")
    with profiled("compressing", loop) as process:
        first = process.get("/debug/pprof/native?seconds=1")
        data = process.get("/debug/pprof/native?seconds=1")
    assert from_pprof(first).samples
    held = sum(
        sample.values[1]
        for sample in from_pprof(data).samples
        if sample.stack[0].function == "compressing"
    )
    assert held > 20 * 200_000  # each has 268 kB, and there are a hundred in a second at the most
    file = tmp_path / "native.pb.gz"
    file.write_bytes(data)
    assert "compressing" in go_pprof("-top", str(file))


def test_memory_is_told_by_who_holds_it(tmp_path: Path) -> None:
    """Of two owners each has what its tasks hold, to a tenth; Go's tool shows it."""
    with profiled("holding") as process:
        data = process.get("/debug/pprof/held")
    held = {}
    for sample in from_pprof(data).samples:
        owner = dict(sample.labels).get("owner", "")
        if any(frame.function == "keep" for frame in sample.stack):
            held[owner] = sample.values
    assert held["GET /large"][0] == held["GET /small"][0] == 30
    assert held["GET /large"][1] == pytest.approx(30 * 100_000, rel=0.1)
    assert held["GET /small"][1] == pytest.approx(30 * 10_000, rel=0.3)  # and the task itself, 2 kB
    file = tmp_path / "held.pb.gz"
    file.write_bytes(data)
    assert "keep" in go_pprof("-top", "-sample_index=held", str(file))
    assert "GET /large" in go_pprof("-tags", str(file))


def test_memory_is_counted_by_type() -> None:
    """A census in a forked child: nothing was switched on, and `go tool pprof` reads it."""
    with profiled("growing") as process:
        time.sleep(0.5)
        profile = from_pprof(process.get("/debug/pprof/heap?gc=1"))
        top = go_pprof("-top", f"{process.url}/debug/pprof/heap")
        text = process.get("/debug/pprof/heap?debug=1").decode()
    by_type = {sample.stack[0].function: sample.values for sample in profile.samples}
    objects, size = by_type["bytearray"]
    assert objects >= 20
    assert size > 20 * 10_000
    assert by_type["__main__.Hoard"][0] >= 20
    assert "after a garbage collection" in profile.comments
    assert any(comment.startswith("rss_bytes = ") for comment in profile.comments)
    assert "Type: inuse_space" in top
    assert "# tasks = " in text
    pause = next(one for one in profile.comments if one.startswith("the process paused"))
    assert float(pause.split()[4]) < 100


@pytest.mark.parametrize("frames", [1, 5])
def test_memory_is_traced_to_the_line_that_allocates_it(frames: int, tmp_path: Path) -> None:
    """Within a window, by function and line; when it is over nothing is traced any more."""
    with profiled("growing") as process:
        data = process.get(f"/debug/pprof/heap?seconds=1&frames={frames}")
        again = from_pprof(process.get("/debug/pprof/heap?seconds=0.2"))
    profile = from_pprof(data)
    most = profile.samples[0]
    assert most.stack[0].function == "Hoard.__init__"
    assert "profiled.py" in most.stack[0].file
    assert most.values[0] > 20
    assert most.values[1] > 20 * 10_000
    assert len(most.stack) == min(frames, len(most.stack))
    if frames > 1:
        assert [frame.function for frame in most.stack[1:3]] == ["grow", "growing"]
    assert again.samples[0].values[0] < most.values[0]
    file = tmp_path / "heap.pb.gz"
    file.write_bytes(data)
    assert "Hoard.__init__" in go_pprof("-top", "-sample_index=inuse_objects", str(file))
