"""The pytest plugin, in pytest runs of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import asyncio
import sys

import pytest


@pytest.fixture
def limit():
    return 2


@pytest.mark.explore(schedules=70, quick=7)
async def test_passes(limit):
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(limit)))


@pytest.mark.explore(schedules=500)
async def test_fails():
    log = ""

    async def step(name):
        nonlocal log
        await asyncio.sleep(0)
        log += name

    await asyncio.gather(step("a"), step("b"))
    assert log == "ab", "wrong order"


def test_plain():
    assert True


@pytest.mark.explore
def test_not_async():
    pass


@pytest.mark.explore(100)
async def test_positional():
    pass
"""


def run(folder: Path, *words: str) -> str:
    """Run pytest on the tests above, without our own conftest."""
    (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA"]
    # To look for all plugins that are installed costs each run seconds; the last test here does.
    command += ["-p", "_backstay_pytestplugin", "-p", "pytest_asyncio.plugin", *words]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout + done.stderr


def test_marked_tests_are_explored_and_failures_replayed(tmp_path: Path) -> None:
    """The whole way: a failure prints a string, the option takes it and fails the same way."""
    said = run(tmp_path)
    assert "2 passed, 3 failed" in said or "3 failed, 2 passed" in said
    assert "7 schedules (" in said
    assert "AssertionError: wrong order" in said
    assert "is marked 'explore' but is no async function" in said
    assert "takes keywords only" in said
    found = re.search(r"pytest --backstay-replay=(\S+)", said)
    assert found is not None
    again = run(tmp_path, "-k", "test_fails", f"--backstay-replay={found[1]}")
    assert "schedule 1 fails" in again
    assert found[1] in again
    # What is shown is the report and the user's own lines, and nothing of the explorer.
    assert "_explore.py" not in said


@pytest.mark.parametrize(("asked", "run_"), [("full", 70), ("12", 12)])
def test_how_many_is_asked_for_from_outside(tmp_path: Path, asked: str, run_: int) -> None:
    """The full number for the night, or any number for everything."""
    said = run(tmp_path, "-k", "test_passes", f"--backstay-schedules={asked}")
    assert f"{run_} schedules (" in said


def test_a_wrong_number_is_told(tmp_path: Path) -> None:
    """Not a traceback but what was expected."""
    said = run(tmp_path, "-k", "test_passes", "--backstay-schedules=lots")
    assert "must be a number of at least 1 or 'full', not 'lots'" in said


def test_the_plugin_imports_nothing_of_ours(tmp_path: Path) -> None:
    """It is loaded in every pytest run of every project, so it costs nothing there."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_it():\n    assert '_backstay_pytestplugin' in sys.modules\n"
        "    assert not [name for name in sys.modules if name.startswith('backstay')]\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout
