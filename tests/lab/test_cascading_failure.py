"""The scenario `cascading-failure` with real processes, and a policy that protects nobody."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "examples" / "shop" / "scenarios" / "cascading-failure.toml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


def test_a_policy_that_protects_nobody_fails_the_experiment(tmp_path: Path) -> None:
    """Without a bound that bites both ways of writing it go down, and the verdict is FAIL."""
    text = SCENARIO.read_text(encoding="utf-8")
    for key, value in {"duration_s": 16, "warmup_s": 1, "at_s": 2, "until_s": 13}.items():
        text = re.sub(rf"^{key} = \d+", f"{key} = {value}", text, flags=re.MULTILINE)
    text = text.replace("shop.cascade.orders:{variant}", "shop.cascade.orders:loose")
    text = text.replace('pythonpath = [".."]', f'pythonpath = ["{ROOT / "examples" / "shop"}"]')
    path = tmp_path / "loose.toml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "backstay", "lab", "compare", str(path), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=140,
        cwd=ROOT,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["verdict"] == "FAIL", result["reasons"]
    naive, loose = (result["variants"][name]["fault"] for name in ("naive", "guarded"))
    assert naive["failed_share"] > 0.5
    assert loose["failed_share"] > 0.5
    assert any("fewer failed requests" in reason for reason in result["reasons"])
