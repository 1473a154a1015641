"""The whole comparison with real processes: a verdict at the end, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "toy"

pytestmark = pytest.mark.slow


def command(out: Path, *more: str) -> list[str]:
    """Return the command line of a comparison of the toy."""
    return [
        sys.executable,
        "-m",
        "backstay",
        "lab",
        "compare",
        "./toy.toml",
        "--out",
        str(out),
        *more,
    ]


def living(out: Path) -> list[str]:
    """Return the command lines of all processes that belong to a run with this output folder."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = os.readlink(entry / "cwd")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        ours = str(out) in text or (where == str(TOY) and "python" in text)
        if ours and state != "Z":
            found.append(text)
    return found


def wait_until(condition: Callable[[], bool], timeout: float = 20.0) -> bool:
    """Poll, since other processes send no events; False when it never came true."""
    give_up = time.monotonic() + timeout
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_the_toy_passes_and_everything_is_written(tmp_path: Path) -> None:
    """Two variants run, the verdict is PASS, and the result has the promised shape."""
    out = tmp_path / "out"
    done = subprocess.run(
        command(out, "--no-calibrate"), cwd=TOY, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    assert "the line that leaks: service.py:" in done.stdout
    assert "naive: load" in done.stderr, "progress goes to stderr"
    result = json.loads((out / "result.json").read_text())
    assert result["verdict"] == "PASS"
    assert (result["scenario"], result["seed"], result["offered_rps"]) == ("toy", 3, 150)
    assert result["duration_s"] == 8
    for name in ("naive", "governed"):
        variant = result["variants"][name]
        assert set(variant) >= {
            "tasks_mean", "tasks_peak", "latency_ms", "success_rate", "requests",
            "rss_growth_pct_per_min", "rss_peak_mb",
        }  # fmt: skip
        assert set(variant["latency_ms"]) == {"p50", "p90", "p99"}
        assert variant["exit_codes"]["front"] == 0
    assert result["variants"]["naive"]["tasks_peak"] > 400
    assert result["variants"]["naive"]["arrivals"] == result["variants"]["governed"]["arrivals"]
    cause = result["root_cause"][0]
    assert set(cause) >= {
        "site", "function", "verdict", "count", "blocked_on", "owner", "trace_ids",
    }  # fmt: skip
    path, _, line = cause["site"].partition(":")
    assert "# leak:" in (TOY / path).read_text().splitlines()[int(line) - 1]
    page = (out / "report.html").read_text()
    assert page.count("<svg") >= 4
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "").partition('id="data"')[0]
    assert (out / "demo.svg").read_text().startswith("<svg")
    assert (out / "run-naive" / "front.log").exists()
    assert not list(out.glob("run-*/sock")), "sockets are removed"
    assert not living(out)


@pytest.mark.parametrize(
    ("signal_sent", "exit_code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
@pytest.mark.parametrize("moment", ["starting", "load"])
def test_however_it_is_ended_nothing_is_left(
    tmp_path: Path, signal_sent: signal.Signals, exit_code: int, moment: str
) -> None:
    """Ctrl-C, SIGTERM or kill -9 while starting or under load leave no process and no file outside."""
    out = tmp_path / "out"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    lab = subprocess.Popen(
        command(out, "--no-calibrate"),
        cwd=TOY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        text=True,
    )
    assert lab.stderr is not None
    if moment == "starting":
        assert wait_until(lambda: (out / "run-naive" / "bank.log").exists())
    else:
        assert any("naive: 1/8" in line for line in lab.stderr)
        assert len(living(out)) >= 4
    lab.send_signal(signal_sent)
    code = lab.wait(timeout=20)
    said = lab.stderr.read()
    lab.stderr.close()
    assert code == exit_code
    assert "Traceback" not in said
    assert wait_until(lambda: not living(out), 5), living(out)
    assert wait_until(lambda: not list(temporary.iterdir()), 5)
    assert {entry.name for entry in out.iterdir()} <= {"run-naive"}


def test_a_service_that_falls_makes_it_inconclusive_and_its_log_says_why(tmp_path: Path) -> None:
    """When a process of the baseline is killed under load, the run breaks off with its name."""
    out = tmp_path / "out"
    lab = subprocess.Popen(
        command(out, "--no-calibrate"),
        cwd=TOY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert lab.stderr is not None
    assert any("naive: 1/8" in line for line in lab.stderr)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            where = os.readlink(entry / "cwd")
        except OSError:
            continue
        if b"service.py" in words and where == str(TOY):
            os.kill(int(entry.name), signal.SIGKILL)
    said, _ = lab.communicate(timeout=40)
    assert lab.returncode == 1
    assert "INCONCLUSIVE" in said
    assert "front ended by itself (killed by SIGKILL)" in said
    result = json.loads((out / "result.json").read_text())
    assert result["verdict"] == "INCONCLUSIVE"
    assert not living(out)
