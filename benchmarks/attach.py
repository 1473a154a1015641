"""Promise: however often a process is entered, it lives on unharmed, and each stop is short.

A program that checks everything it does (``attach_target.py``) is looked into again and again by injection. By
default it is 100 times for each loop and each way of being busy; with ``BACKSTAY_ATTACHES=1000`` it is the big run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backstay.errors import UsageError
from backstay.observe.attach import look_at
from benchmarks.rounds import Figure

ATTACHES = int(os.environ.get("BACKSTAY_ATTACHES", "100"))
TARGET = Path(__file__).with_name("attach_target.py")


def visit(how: str, loop: str) -> tuple[int, list[float], list[float], dict[str, int]]:
    """Look `ATTACHES` times; return failures, longest stops, sums of stops, and the ways that were taken."""
    failed, ways = 0, dict[str, int]()
    longest: list[float] = []
    sums: list[float] = []
    with subprocess.Popen([sys.executable, TARGET, how, loop], stdout=subprocess.PIPE) as target:
        assert target.stdout is not None
        target.stdout.readline()
        for _ in range(ATTACHES):
            try:
                found = look_at(target.pid)
            except UsageError as error:
                print(f"{how}, {loop}: {error}", file=sys.stderr)
                failed += 1
                if target.poll() is not None:
                    break
                continue
            told = found["injection"]
            failed += not found["list"] or bool(told["left_bytes"])
            longest.append(told["longest_stop_s"])
            sums.append(told["stopped_s"])
            ways[told["way"]] = ways.get(told["way"], 0) + 1
        if target.poll() is not None:
            print(f"{how}, {loop}: ended, {target.stdout.read()!r}", file=sys.stderr)
            failed += ATTACHES
        target.kill()
    return failed, longest, sums, ways


def measure() -> list[Figure]:
    """Return how many visits failed or did harm, and the stops."""
    figures: list[Figure] = []
    for loop in ("stock", "uvloop"):
        failed = 0
        longest: list[float] = []
        sums: list[float] = []
        ways: dict[str, int] = {}
        for how in ("busy", "light"):
            bad, stops, all_stops, taken = visit(how, loop)
            failed += bad
            longest += stops
            sums += all_stops
            ways.update({f"{how} {way}": count for way, count in taken.items()})
        note = ", ".join(f"{count} {way}" for way, count in sorted(ways.items()))
        figures += [
            Figure(f"attach.failed.{loop}", failed, "", f"of {2 * ATTACHES}: {note}"),
            Figure(
                f"attach.stop.{loop}",
                _percentile(longest, 99) * 1e3,
                "ms",
                f"p99 of the longest stop of a visit; p50 {_percentile(longest, 50) * 1e3:.2f}",
            ),
            Figure(
                f"attach.stopped.{loop}",
                _percentile(sums, 50) * 1e3,
                "ms",
                "p50 of all stops of a visit",
            ),
        ]
    return figures


def _percentile(samples: list[float], percent: int) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0
