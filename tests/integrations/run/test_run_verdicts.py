"""`backstay leaks` against a real process in which everything is wrong that one look can see."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from real_processes import Command, Start, document

pytestmark = pytest.mark.slow

SCRIPT = """\
import asyncio, gc, threading

async def lost():
    await asyncio.get_running_loop().create_future()

async def deaf():
    while not over.is_set():
        try: await asyncio.sleep(3600)
        except asyncio.CancelledError: pass

async def both(first, second):
    async with first:
        await asyncio.sleep(0)
        async with second: pass

async def main():
    one, two = asyncio.Lock(), asyncio.Lock()
    asyncio.create_task(lost())  # lost
    poller = asyncio.create_task(deaf())  # undead
    kept = [asyncio.create_task(both(one, two), name="a"), asyncio.create_task(both(two, one), name="b")]  # ring
    threading.Thread(target=over.wait, name="metrics").start()
    await asyncio.sleep(0.1)
    poller.cancel()
    gc.collect()
    print("ready", flush=True)
    try: await asyncio.sleep(3600)
    finally: over.set(); poller.cancel()

over = threading.Event()
if __name__ == "__main__":
    asyncio.run(main())
"""


def test_all_that_one_look_can_see(start: Start, backstay: Command, room: Path) -> None:
    """LOST, UNDEAD and a deadlock with their lines and pages; and the thread that keeps it alive."""
    (room / "wrong.py").write_text(SCRIPT)
    lines = SCRIPT.splitlines()
    process = start("run", "--admin", "own.sock", "--leak-interval", "0", "wrong.py")
    assert process.popen.stdout is not None
    assert process.popen.stdout.readline() == "ready\n"
    found = {}
    for _ in range(40):  # the cancel must be five seconds ago
        told = backstay("leaks", "own.sock", "--json")
        found = {one["verdict"]: one for one in document(told)["findings"]}
        if len(found) == 3:
            break
    assert told.returncode == 1
    assert set(found) == {"LOST", "UNDEAD", "STUCK"}
    for verdict, mark in (("LOST", "# lost"), ("UNDEAD", "# undead"), ("STUCK", "# ring")):
        line = next(n for n, text in enumerate(lines, 1) if text.endswith(mark))
        assert found[verdict]["site"] == f"wrong.py:{line}"
    assert found["STUCK"]["detail"][0].startswith("deadlock: 2 tasks")
    assert found["STUCK"]["page"] == "docs/reference/verdicts/deadlock.md"
    shown = backstay("leaks", "own.sock", "--alive")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "! metrics in Event.wait" in shown.stdout
    assert "sleep of " in shown.stdout
    process.signal(signal.SIGTERM)
    process.end()
