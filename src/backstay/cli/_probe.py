"""`backstay probe`: what happens at a line of a running process, without stopping it there."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backstay.cli._numbers import count, seconds
from backstay.cli._target import Subparsers, add_target
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.admin import AdminClient

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay probe 4711 app/orders.py:120                      who comes by there, and from where
  backstay probe 4711 orders.py:120 --expr order.id --expr items[0]
  backstay probe 4711 orders.py:120 --hits 100 --seconds 60 --rate 100 --json | jq '.hits[].values'

A hit is recorded each time the line is about to run; the process goes on. The probe goes with its hits, its
time, Ctrl-C, and when this command ends in whatever way. Expressions are names, attributes and constant
subscripts; no code of the program is run for them, and what is called password, token and the like is hidden.
The process must have been started with --allow-actions.
Exit code: 0 = it was set and has ended, 2 = it could not be set, or the target cannot be reached.
"""

_POLL_S = 0.25


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "probe",
        help="what happens at a line of a running process, without stopping it",
        description="Record who comes by a line of a running process, and what is in some variables there.",
        epilog=_EPILOG,
    )
    add_target(parser)
    parser.add_argument("place", metavar="FILE:LINE", help="the end of a path will do for FILE")
    parser.add_argument(
        "--expr",
        action="append",
        default=[],
        metavar="NAME",
        help="what to read there; several times",
    )
    parser.add_argument(
        "--hits", type=count, default=10, metavar="N", help="end after so many (10)"
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=30.0,
        metavar="S",
        help="end after so long (30, at most 300)",
    )
    parser.add_argument(
        "--rate",
        type=seconds,
        default=10.0,
        metavar="N",
        help="hits recorded a second (10, at most 100)",
    )
    parser.add_argument("--no-stack", action="store_true", help="without the calls that lead there")
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on stdout, at the end"
    )


def execute(args: argparse.Namespace) -> int:
    """Set the probe, print its hits as they come, return 0.

    Raises:
        UsageError: it cannot be set, or the target cannot be reached.
    """
    from backstay.observe.admin import AdminClient

    client = AdminClient(args.target, timeout=args.wait)
    asked = {
        "at": args.place,
        "expressions": args.expr,
        "hits": args.hits,
        "seconds": args.seconds,
        "rate": args.rate,
    }
    probe = client.post("/v1/probes", asked)
    if not args.json:
        print(
            f"watching {probe['at']} in {', '.join(probe['functions'])}",
            file=sys.stderr,
            flush=True,
        )
    try:
        document = _follow(args, client, probe)
    except KeyboardInterrupt:
        with suppress(UsageError):
            client.post(f"/v1/probes/{probe['probe']}", {"remove": True})
        raise
    if args.json:
        print(json.dumps(document))
    else:
        from backstay.observe.probe import ending_to_text

        print(ending_to_text(document), end="")
    return 0


def _follow(args: argparse.Namespace, client: AdminClient, probe: dict[str, Any]) -> dict[str, Any]:
    """Ask for new hits until the probe has ended; the asking is what keeps it."""
    from backstay.observe.probe import hit_to_text

    hits: list[dict[str, Any]] = []
    while True:
        found = client.get(f"/v1/probes/{probe['probe']}?after={len(hits)}")
        hits += found["hits"]
        if not args.json:
            for hit in found["hits"]:
                print(hit_to_text(hit, stack=not args.no_stack), end="", flush=True)
        if found["ended"]:
            return {**found, "hits": hits}
        time.sleep(_POLL_S)
