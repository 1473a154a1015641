"""`backstay run` names the line that blocks the loop: in the log, and in the statistics."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from real_processes import Command, Start, in_background, line_of

from backstay.observe.admin import AdminClient

pytestmark = pytest.mark.slow
RUN = ("run", "web:app", "--port", "0", "--admin", "admin.sock", "--lame-duck", "0")
BLOCKING = line_of("time.sleep(float")

SCRIPT = """
import asyncio, time

def parse():
    time.sleep(0.3)

async def main():
    await asyncio.sleep(0.5)
    parse()
    await asyncio.sleep(0.1)

asyncio.run(main())
"""


def blocked(room: Path) -> Any:
    return AdminClient(str(room / "admin.sock")).get("/v1/statistics")["blocked"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_line_that_blocks_is_named_while_it_does(start: Start, room: Path, loop: str) -> None:
    """And afterwards: one line in the log, and the record with its duration and its request."""
    process = start(*RUN, "--loop", loop)
    assert process.get("/") == (200, "ok")
    assert blocked(room)["count"] == 0
    reply = in_background(lambda: process.get("/block/0.8"))
    process.wait_for("at /block/0.8")
    until = time.monotonic() + 0.7
    while (known := blocked(room))["now"] is None:
        assert time.monotonic() < until
    assert known["now"]["site"].endswith(BLOCKING)
    assert known["now"]["stack"]
    assert reply() == (200, "ok")
    line = process.wait_for(r"the event loop was blocked for (\d\.\d+) s by app at (\S+),? (.*)")
    assert float(line[1]) == pytest.approx(0.8, abs=0.2)
    assert line[2].rstrip(",").endswith(BLOCKING)
    assert "GET /block/0.8" in line[3]
    known = blocked(room)
    assert (known["count"], known["now"], known["limit_s"]) == (1, None, 0.1)
    (record,) = known["recent"]
    assert record["site"].endswith(BLOCKING)
    assert record["duration_s"] == pytest.approx(0.8, abs=0.2)
    assert "stack" not in record
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert process.log.count("the event loop was blocked") == 1


def test_the_watch_can_be_set_and_switched_off(start: Start, room: Path) -> None:
    """A limit of one's own, and none at all."""
    process = start(*RUN, "--block-limit", "5")
    assert process.get("/block/0.3") == (200, "ok")
    assert (blocked(room)["limit_s"], blocked(room)["count"]) == (5.0, 0)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    process = start(*RUN, "--no-sysmon")
    assert process.get("/block/0.3") == (200, "ok")
    assert blocked(room) is None
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "was blocked" not in process.log


def test_a_script_is_watched_too(backstay: Command, room: Path) -> None:
    """Each loop that it makes, without a word from it."""
    (room / "script.py").write_text(SCRIPT)
    line = 1 + SCRIPT.splitlines().index("    time.sleep(0.3)")
    done = backstay("run", "--admin", "off", "script.py")
    assert done.returncode == 0
    assert f"s by parse at {room}/script.py:{line}" in done.stderr
    done = backstay("run", "--admin", "off", "--no-sysmon", "script.py")
    assert (done.returncode, done.stderr) == (0, "")


def test_flags_that_contradict_each_other(backstay: Command, room: Path) -> None:
    """One line, exit code 2."""
    done = backstay("run", "--no-sysmon", "--block-limit", "1", "web:app")
    assert done.returncode == 2
    assert "contradict each other" in done.stderr


def test_a_multiloop_shows_its_queues(start: Start, backstay: Command, room: Path) -> None:
    """Queue lengths, steals, hand-offs and parks, also in `ps`, and no complaint about loops made for blocking."""
    (room / "pooled.py").write_text(
        "import asyncio, time\n"
        "from backstay.multiloop import Multiloop\n"
        "async def nap(): time.sleep(0.3)\n"
        "async def main():\n"
        "    async with Multiloop('render', procs=2) as pool:\n"
        "        for _ in range(4): pool.go(nap)\n"
        "        await asyncio.sleep(2)\n"
        "asyncio.run(main())\n"
    )
    process = start("run", "--admin", "admin.sock", "pooled.py")
    until = time.monotonic() + 10
    pools: list[Any] = []
    while not pools or pools[0]["started"] < 4:
        assert time.monotonic() < until
        time.sleep(0.05)
        try:
            pools = AdminClient(str(room / "admin.sock")).get("/v1/statistics")["multiloops"]
        except Exception:  # not there yet
            continue
    assert json.dumps(pools[0])
    assert pools[0]["name"] == "render"
    assert [one["name"] for one in pools[0]["loops"]] == ["render/0", "render/1"]
    assert {"waiting", "queued", "steals", "hand_offs", "parks"} <= set(pools[0])
    shown = backstay("ps", str(room / "admin.sock"))
    assert "multiloop render  open, 2 loops, " in shown.stdout
    assert "hand-off" in shown.stdout
    assert "  render/1  " in shown.stdout
    assert process.end() == 0
    assert "was blocked" not in process.log
