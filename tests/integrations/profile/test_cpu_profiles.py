"""The CPU profile of real processes: right functions, right traces, and nothing left behind."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from go_pprof import go_pprof
from profiled import LOOPS, Profiled, profiled

from backstay.observe.profile import Profile, from_pprof

pytestmark = pytest.mark.slow

CLEAN = {"handler": "0", "timer": [0.0, 0.0]}  # signal.SIG_DFL is 0


def cpu(process: Profiled, seconds: float, rate: int = 100) -> Profile:
    return from_pprof(process.get(f"/debug/pprof/profile?seconds={seconds:g}&rate={rate}"))


def spent_in(profile: Profile, function: str) -> int:
    """Return the nanoseconds in a function and in what it calls."""
    return sum(
        sample.values[1]
        for sample in profile.samples
        if any(frame.function == function for frame in sample.stack)
    )


def assert_clean(about: dict[str, Any]) -> None:
    """The handler and the timer are as they were, and no thread of ours is left."""
    assert about["handler"] in ("0", "Handlers.SIG_DFL")
    assert about["timer"] == [0.0, 0.0]
    assert not [name for name in about["threads"] if name.startswith("backstay-profile")]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_known_split_is_found(loop: str) -> None:
    """Three functions that use 78, 19 and 3 parts of the time are told so, to 3 points and what chance adds."""
    with profiled("split", loop) as process:
        profile = cpu(process, 6, rate=250)
        assert_clean(process.end())
    parts = {name: spent_in(profile, name) for name in ("heavy", "medium", "light")}
    whole = sum(parts.values())
    assert whole > 0.9 * profile.total()
    found = {name: 100 * part / whole for name, part in parts.items()}
    samples = sum(one.values[0] for one in profile.samples)
    for name, truth in (("heavy", 78), ("medium", 19), ("light", 3)):
        # What is left to chance by so few samples as a busy machine leaves time for: two standard deviations.
        chance = 200 * math.sqrt(truth / 100 * (1 - truth / 100) / samples)
        assert abs(found[name] - truth) <= 3 + chance, (found, samples)


@pytest.mark.parametrize("loop", LOOPS)
def test_each_sample_has_the_trace_that_it_ran_for(loop: str) -> None:
    """With two requests at work on one loop, 99 of 100 samples carry the right trace, span and route."""
    with profiled("spans", loop) as process:
        profile = cpu(process, 4, rate=250)
    right = wrong = 0
    for sample in profile.samples:
        names = {frame.function for frame in sample.stack}
        expected = "1" if "one_trace" in names else "2" if "two_trace" in names else None
        if expected is None:
            continue
        labels = dict(sample.labels)
        route = "GET /one" if expected == "1" else "GET /two"
        as_expected = {
            "trace_id": expected * 32,
            "span_id": expected * 16,
            "route": route,
            "owner": route,
        }
        fine = all(labels.get(name) == value for name, value in as_expected.items())
        right += sample.values[0] * fine
        wrong += sample.values[0] * (not fine)
    assert right > 100
    assert right / (right + wrong) >= 0.99


def test_go_takes_a_cpu_profile_from_the_url(tmp_path: Path) -> None:
    """`go tool pprof URL` with its own parameter; the labels show in -tags."""
    with profiled("split") as process:
        top = go_pprof("-top", "-seconds", "2", f"{process.url}/debug/pprof/profile")
        file = tmp_path / "cpu.pb.gz"
        file.write_bytes(process.get("/debug/pprof/profile?seconds=1"))
    assert "Type: cpu" in top
    assert "heavy" in top
    assert "cpu/nanoseconds[dflt]" in go_pprof("-raw", str(file))
    assert "split" in go_pprof("-tags", str(file))


def test_a_client_that_leaves_ends_its_profile() -> None:
    """The handler is given back at once, and the next profile is made."""
    with profiled("split") as process:
        parts = urlsplit(process.url)
        with socket.create_connection((parts.hostname, parts.port)) as client:
            client.sendall(
                b"GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            )
            time.sleep(0.5)
            with pytest.raises(urllib.error.HTTPError) as caught:
                process.get("/debug/pprof/profile?seconds=1")
            assert caught.value.code == 409
            caught.value.close()
        time.sleep(0.5)
        assert cpu(process, 0.3).total() > 0
        assert_clean(process.end())


def test_a_process_that_ends_meanwhile_ends_well() -> None:
    """A profile under way does not end the process by its signal, nor keep it."""
    with profiled("split") as process:
        thread = threading.Thread(target=lambda: _ignore_errors(process))
        thread.start()
        time.sleep(0.7)
        process.end()
        thread.join(10)
        assert not thread.is_alive()


def _ignore_errors(process: Profiled) -> None:
    try:
        cpu(process, 60)
    except (OSError, ValueError):
        pass  # the plane has closed amid it


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_never_comes_round_is_profiled(loop: str) -> None:
    """One step of a task keeps the loop for 20 s: the profile begins nevertheless, and names it."""
    with profiled("spinning", loop) as process:
        time.sleep(0.6)
        before = time.monotonic()
        profile = cpu(process, 1)
        assert time.monotonic() - before < 4
    assert spent_in(profile, "spinning") > 0.9 * profile.total() > 0


def test_a_main_thread_in_a_system_call_is_told() -> None:
    """A loop that is blocked in a system call uses no processor: 503 says so, and where to look."""
    with profiled("blocked") as process:
        time.sleep(0.6)
        with pytest.raises(urllib.error.HTTPError) as caught:
            process.get("/debug/pprof/profile?seconds=1")
        assert caught.value.code == 503
        assert b"/debug/pprof/block" in caught.value.read()
        assert json.loads(process.get("/livez"))["alive"]


def test_the_time_of_other_threads_is_theirs() -> None:
    """What a pool's thread uses is not told of the idle loop."""
    with profiled("threads") as process:
        profile = cpu(process, 2)
    assert spent_in(profile, "in_the_pool") > 0.8 * profile.total() > 0
    labels = [dict(one.labels) for one in profile.samples]
    assert any(str(one.get("thread", "")).startswith("asyncio_") for one in labels)


def test_code_without_the_lock_is_counted_where_it_was_called() -> None:
    """Hashing in C, without the interpreter's lock, is the time of the function that hashes."""
    with profiled("hashing") as process:
        profile = cpu(process, 1)
    assert spent_in(profile, "hashing") > 0.8 * profile.total() > 0
