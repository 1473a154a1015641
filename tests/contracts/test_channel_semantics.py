"""The table in the documentation is what the channels of others, and ours, really do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio.Queue cannot be closed before 3.13")
def test_the_table_of_semantics_is_what_a_run_shows() -> None:
    """Each peer is run again; shares of chance aside, the page says the same."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "channel_semantics.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
