"""Two hundred ends under load: nothing lost, nothing run twice, no thread left."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ends_under_load import cut, end_in_order

pytestmark = pytest.mark.slow

ENDS = range(200)


@pytest.mark.parametrize("switch", [0.005, 0.00002], ids=["usual switching", "frantic switching"])
def test_ends_under_load_lose_nothing_and_repeat_nothing(switch: float) -> None:
    """What was accepted has run once to its end; what was refused has not run."""
    before = threading.active_count()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(switch)
    try:
        end_in_order(ENDS)
    finally:
        sys.setswitchinterval(interval)
    assert threading.active_count() <= before


def test_ends_by_cancel_under_load_run_nothing_twice() -> None:
    """Jobs that were cancelled in time never ran; the others ended before the block did."""
    cut(ENDS)


def free_threaded() -> str | None:
    """Find an interpreter without the GIL on this machine."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    names = [shutil.which(f"python3.{minor}t") for minor in (15, 14, 13)]
    for path in [*names, *sorted(glob.glob(f"{pyenv}/versions/*t/bin/python"), reverse=True)]:
        if path is not None:
            return path
    return None


@pytest.mark.skipif(free_threaded() is None, reason="no free-threaded Python on this machine")
def test_it_holds_without_the_interpreters_lock() -> None:
    """The same ends on a free-threaded build, where every shared structure shows."""
    here = Path(__file__).parent
    done = subprocess.run(
        [free_threaded() or "", "-X", "gil=0", str(here / "ends_under_load.py")],
        env={**os.environ, "PYTHONPATH": str(here.parent.parent.parent / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "without the GIL: ok" in done.stdout
