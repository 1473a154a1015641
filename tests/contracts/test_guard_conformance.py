"""The table of what guards do is what a run sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the page is made on Python 3.11")
def test_the_table_of_guards_is_what_a_run_sees() -> None:
    """A new version of a library, or of ours, that behaves otherwise shows here."""
    command = [sys.executable, str(ROOT / "scripts" / "guard_conformance.py"), "--check"]
    for _ in range(2):  # real time: a crowded machine may make one run see something else
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    raise AssertionError(done.stderr)
