"""`backstay lab soak` with the real shop: what stays behind is found, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def soak(out: Path, variant: str) -> tuple[int, Any]:
    """Run a soak of one minute, in which every second reply of the gateway is lost for eight seconds; return its exit code and its document."""
    words = ["--minutes", "1", "--rate", "60", "--seed", "16", "--settle", "4", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "backstay", "lab", "soak", "soak", "--variant", variant, *words, "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_naive_shop_fails_and_its_line_is_named(tmp_path: Path) -> None:
    """Replies that never come leave tasks behind; the verdict is FAIL, and the first cause is the line."""
    code, seen = soak(tmp_path / "out", "naive")
    assert (code, seen["verdict"]) == (1, "FAIL")
    path, _, line = seen["root_causes"][0]["site"].rpartition(":")
    assert "# leak" in (ROOT / path).read_text().splitlines()[int(line) - 1]
    checks = {one["name"]: one for one in seen["checks"]}
    assert checks["verdicts"]["status"] == "missed"


def test_the_governed_shop_leaves_nothing_behind(tmp_path: Path) -> None:
    """The same faults, and no verdict, no more tasks, no more memory; the picture is written."""
    out = tmp_path / "out"
    _, seen = soak(out, "governed")
    checks = {one["name"]: (one["status"], one["sentence"]) for one in seen["checks"]}
    for name in ("faults", "verdicts", "tasks", "memory"):
        assert checks[name][0] == "met", checks
    picture = (out / "soak.svg").read_text()
    assert "Live tasks" in picture
    assert "Resident memory" in picture
