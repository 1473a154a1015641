"""`backstay run SCRIPT.py` and `-m MODULE` as real processes, beside python itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from real_processes import Command, Start, environment

pytestmark = pytest.mark.slow

WORLD = """
import __main__, json, sys
if __name__ == "__main__":
    print(json.dumps({
        "argv": sys.argv, "path0": sys.path[0], "name": __name__, "file": __file__,
        "package": __package__, "spec": __spec__ and __spec__.name, "doc": __doc__,
        "same": __main__.__dict__ is globals(), "names": sorted(globals()),
    }))
"""


def python(room: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=room,
        env=environment(room, {}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("world.py", "a", "--b", "-m"),
        ("./inner/../world.py",),
        ("link.py",),
        ("-m", "world", "--port", "1"),
        ("-m", "package.module", "x"),
        ("-m", "package"),
        ("package", "y"),
    ],
)
def test_the_world_is_the_one_of_python(
    backstay: Command, room: Path, arguments: tuple[str, ...]
) -> None:
    """argv, sys.path[0] and __main__ are what `python ...` gives."""
    (room / "package").mkdir()
    for name in ("world.py", "package/module.py", "package/__main__.py"):
        (room / name).write_text(WORLD)
    (room / "package" / "__init__.py").touch()
    (room / "inner").mkdir()
    (room / "inner" / "real.py").write_text(WORLD)
    (room / "link.py").symlink_to(room / "inner" / "real.py")
    ended = backstay("run", *arguments)
    assert ended.stderr == ""
    assert ended.stdout == python(room, *arguments).stdout != ""


@pytest.mark.parametrize(
    "source",
    [
        "raise SystemExit(7)",
        "raise SystemExit('in words')",
        "import sys; sys.exit()",
        "raise ValueError('mine')",
        "def f(:",
        "import asyncio\nasync def boom():\n    1 / 0\nasyncio.run(boom())",
        "import atexit; atexit.register(print, 'last words'); print('first')",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.2), print('late'))).start()",
        "import os; os._exit(3)",
    ],
)
def test_exit_codes_output_and_tracebacks_are_the_scripts(
    backstay: Command, room: Path, source: str
) -> None:
    """What python would have shown, and nothing of ours."""
    (room / "script.py").write_text(source)
    ours, theirs = backstay("run", "script.py"), python(room, "script.py")
    assert ours.returncode == theirs.returncode
    assert ours.stdout == theirs.stdout
    assert ours.stderr == theirs.stderr


def test_signals_are_the_scripts_own_business(start: Start, room: Path) -> None:
    """Ctrl-C ends it as python ends, with the KeyboardInterrupt shown; SIGTERM as by default."""
    (room / "script.py").write_text(
        "import sys, time\nprint('up', file=sys.stderr, flush=True)\ntime.sleep(60)"
    )
    process = start("run", "script.py")
    process.wait_for("up")
    process.signal(signal.SIGINT)
    assert process.end() == -signal.SIGINT
    assert process.log.rstrip().endswith("KeyboardInterrupt")
    assert list((room / "runtime" / "backstay").glob("*.sock")) == []
    process = start("run", "script.py")
    process.wait_for("up")
    process.signal(signal.SIGTERM)
    assert process.end() == -signal.SIGTERM


def test_a_governed_script_ends_in_order(start: Start, room: Path) -> None:
    """`backstay.run(main)` inside works as without us: SIGTERM cancels, cleans up, exits with 0."""
    (room / "script.py").write_text(
        "import asyncio, sys, backstay\n"
        "async def main():\n"
        "    try:\n"
        "        print('up', file=sys.stderr, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "    finally:\n"
        "        print('cleaned up', file=sys.stderr, flush=True)\n"
        "backstay.run(main)\n"
    )
    process = start("run", "script.py")
    process.wait_for("up")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "cleaned up" in process.log


@pytest.mark.parametrize("flag", ["off", "own.sock"])
def test_the_plane_can_be_moved_or_switched_off(backstay: Command, room: Path, flag: str) -> None:
    """A script may run where there is no place for a socket."""
    (room / "script.py").write_text("import os; print(sorted(os.listdir('.')))")
    ended = backstay("run", "--admin", flag, "script.py")
    assert ended.returncode == 0, ended.stderr
    assert ("own.sock" in ended.stdout) is (flag != "off")
    assert not (room / "own.sock").exists()
