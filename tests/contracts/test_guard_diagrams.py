"""What a page draws is what the table decides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_breakers_diagram_is_its_table() -> None:
    """A transition that is added or changed shows on the page."""
    drawn = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "guard_diagrams.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    page = (ROOT / "docs" / "reference" / "breaker.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{drawn}```" in page, "run scripts/guard_diagrams.py and paste what it says"
