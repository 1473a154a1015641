"""`backstay profile` against real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from go_pprof import go_pprof
from profiled import profiled

pytestmark = pytest.mark.slow


def backstay(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backstay", "profile", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_from_the_process_to_the_file(tmp_path: Path) -> None:
    """A CPU profile as pprof and as speedscope, compared with another, in a few commands."""
    before, after = tmp_path / "before.pb.gz", tmp_path / "after.pb.gz"
    scope = tmp_path / "scope.json"
    with profiled("split") as process:
        done = backstay(process.url, "--seconds", "1", "-o", str(before))
        assert (done.returncode, done.stderr) == (0, "")
        assert "heavy" in done.stdout
        backstay(process.url, "--seconds", "0.5", "-o", str(after))
        backstay(process.url, "--seconds", "0.5", "--format", "speedscope", "-o", str(scope))
        tasks = json.loads(backstay(process.url, "--kind", "tasks", "--json").stdout)
    assert "heavy" in go_pprof("-top", str(before))
    document = json.loads(scope.read_text())
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert "heavy" in {frame["name"] for frame in document["shared"]["frames"]}
    compared = backstay("diff", str(before), str(after))
    assert compared.returncode == 0
    assert compared.stdout.startswith("diff: ")
    assert tasks["total"] == 2


def test_findings_are_exit_code_1() -> None:
    """Leaked tasks fail a script; tasks that wait for what will come do not."""
    with profiled("waiting") as process:
        leaks = backstay(process.url, "--kind", "leaks")
        assert leaks.returncode == 1
        assert leaks.stdout.startswith("leaks: 4 tasks")
        wall = backstay(process.url, "--kind", "wall", "--seconds", "1")
        assert (wall.returncode, "queue get  pulling" in wall.stdout) == (0, True)
    with profiled("split") as process:
        assert backstay(process.url, "--kind", "leaks").returncode == 0


def test_a_blocked_loop_is_named_and_a_refusal_says_where_to_look() -> None:
    """The kind that cannot be had names the one that can."""
    with profiled("blocked") as process:
        block = backstay(process.url, "--kind", "block", "--seconds", "1")
        assert "blocks the loop (now)  hold_the_loop" in block.stdout
        cpu = backstay(process.url, "--seconds", "1")
    assert cpu.returncode == 2
    assert "/debug/pprof/block tells which line" in cpu.stderr


def test_memory_from_the_command_line() -> None:
    """By type, and by line within a window."""
    with profiled("growing") as process:
        census = backstay(process.url, "--kind", "heap", "--gc")
        window = backstay(process.url, "--kind", "heap", "--seconds", "1", "--frames", "3")
    assert "__main__.Hoard" in census.stdout or "bytearray" in census.stdout
    assert "Hoard.__init__" in window.stdout
