"""`backstay leaks`: which tasks of a process leak, and from which line."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from backstay.cli._numbers import interval
from backstay.cli._target import Subparsers, add_target

if TYPE_CHECKING:
    from backstay.observe.admin import AdminClient

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay leaks 4711                    verdicts with evidence, worst first
  backstay leaks 4711 --prove            and which tasks nothing can wake any more
  backstay leaks 4711 --alive            what keeps it alive: threads, jobs, timers, connections
  backstay leaks 4711 --watch 30         again and again, until Ctrl-C
  backstay leaks 4711 --json | jq '.findings[0].site'

Orphans and overdue tasks are named at once; growth needs some samples first (see
'backstay run --leak-interval'). A proof stops the application for some milliseconds,
twice, a second apart: only what is proved both times is told.
Exit code: 0 = nothing to accuse, 1 = findings, 2 = the target cannot be reached.
"""

_CONFIRM_S = 1.2  # seconds between two looks; the target wants one second at least


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "leaks",
        help="which tasks of a process leak, and from which line",
        description="Show which tasks of a process leak, with evidence, worst first.",
        epilog=_EPILOG,
    )
    add_target(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    question = parser.add_mutually_exclusive_group()
    question.add_argument(
        "--alive",
        action="store_true",
        help="in place of verdicts, what keeps the process alive (exit code 0)",
    )
    question.add_argument(
        "--prove",
        action="store_true",
        help="prove which blocked tasks nothing can wake any more (LEAKED, STUCK)",
    )
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        type=interval,
        help="ask again every so many seconds; with --json one document a line",
    )


def execute(args: argparse.Namespace) -> int:
    """Print the report; return 1 when it accuses anything.

    Raises:
        UsageError: the target cannot be reached.
    """
    from backstay.observe.admin import AdminClient

    client = AdminClient(args.target, timeout=args.wait)
    accused = _show(args, client)
    if args.watch is None:
        return accused
    try:
        while True:
            time.sleep(args.watch)
            accused = _show(args, client)
    except KeyboardInterrupt:
        return accused


def _show(args: argparse.Namespace, client: AdminClient) -> int:
    text = "" if args.json else "text=1"
    if args.alive:
        found = client.get(f"/v1/keepers?{text}")
        print(json.dumps(found) if args.json else found["text"].rstrip("\n"), flush=True)
        return 0
    if args.prove:
        text += "&prove=1"
        client.get("/v1/leaks?prove=1")
        time.sleep(_CONFIRM_S)
    document = client.get(f"/v1/leaks?{text.lstrip('&')}")
    if args.json:
        print(json.dumps(document), flush=True)
    else:
        print(document["text"], end="", flush=True)
    return 1 if document["findings"] else 0
