"""Promise: a look at all objects of a process of 500 MB stops it for 30 ms at most.

The look is made in a forked child; what stops the application is the fork, and afterwards the pages that
it writes to while the child lives, each of which is copied once. So two things are told: how long the fork took,
and the longest time for which a loop that does nothing but tick did not come round, from the fork to
the end of the child.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time

from benchmarks.rounds import Figure

ROUNDS = 5
RSS = 500_000_000  # bytes


def _rss() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


async def _looked_at() -> dict[str, list[float]]:
    from backstay.observe.profile._forked import in_child
    from backstay.observe.profile._heap import _census

    gc.disable()  # a collection of so many objects takes longer than all that is asked here
    hoard: list[object] = []
    # What a fork costs are the pages: objects may be large, so that the child is soon done.
    while _rss() < RSS:
        hoard.append([{"id": n, "body": bytes(1_500)} for n in range(1_000)])
    found: dict[str, list[float]] = {"fork": [], "tick": [], "bytes": [float(_rss())]}
    for _ in range(ROUNDS):
        paused: list[float] = []
        thread = threading.Thread(
            target=lambda told=paused: told.append(in_child(_census, 60.0)[1])
        )
        longest, before = 0.0, time.perf_counter()
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0)
            at = time.perf_counter()
            longest, before = max(longest, at - before), at
        found["fork"].append(paused[0] * 1e3)
        found["tick"].append(longest * 1e3)
    return found


def measure() -> list[Figure]:
    """Return how long the census of a large process stops it: in the quietest of the rounds."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.census"], stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    found = json.loads(told)
    size = f"a process of {found['bytes'][0] / 1e6:.0f} MB"
    return [
        Figure("census.fork", min(found["fork"]), "ms", f"the fork of {size}"),
        Figure(
            "census.pause", min(found["tick"]), "ms", f"the longest pause of the loop of {size}"
        ),
    ]


def main() -> None:
    """Be the process that is looked at."""
    print(json.dumps(asyncio.run(_looked_at())), flush=True)


if __name__ == "__main__":
    main()
