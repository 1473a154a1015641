"""pytest runs of their own, for the tests of the check for leaks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Those that the runs are about: to look for all that are installed costs each run seconds.
_PLUGINS = (
    "_backstay_pytestplugin",
    "pytest_asyncio.plugin",
    "anyio.pytest_plugin",
    "xdist.plugin",
)
_INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


@dataclass(frozen=True)
class Run:
    """What a pytest run has said.

    Attributes:
        code: its exit status.
        text: all that it wrote.
    """

    code: int
    text: str

    def outcomes(self) -> dict[str, int]:
        """Return the counts of its last line, such as {"passed": 1, "error": 2}."""
        last = re.findall(r"^=* ?(\d+ .*) in [\d.]+s", self.text, re.MULTILINE)[-1]
        return {word: int(count) for count, word in re.findall(r"(\d+) (\w+?)s?\b", last)}


def run_pytest(
    folder: Path,
    source: str,
    *words: str,
    ini: str = "",
    every_plugin: bool = False,
    **others: str,
) -> Run:
    """Run pytest on `source` in a folder; `others` are more files, `conftest="..."` say.

    With `every_plugin` pytest finds its plugins by itself, as it does for everybody.
    """
    (folder / "pytest.ini").write_text(_INI + ini, encoding="utf-8")
    (folder / "test_it.py").write_text(
        f"import asyncio\nimport pytest\nkept = []\n{source}", encoding="utf-8"
    )
    for name, text in others.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-rA",
        "--color=no",
        *words,
    ]
    environment = dict(os.environ)
    if not every_plugin:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command[5:5] = [word for name in _PLUGINS for word in ("-p", name)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr)
