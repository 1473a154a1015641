"""`backstay leaks`: which tasks of a process leak, and from which line."""

from __future__ import annotations

import argparse

from backstay.cli._target import Subparsers, add_target

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay leaks 4711                    verdicts with evidence, worst first
  backstay leaks 4711 --json | jq '.findings[0].site'

Orphans and overdue tasks are named at once; growth needs some samples first (see
'backstay run --leak-interval').
Exit code: 0 = nothing to accuse, 1 = findings, 2 = the target cannot be reached.
"""


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


def execute(args: argparse.Namespace) -> int:
    """Print the report; return 1 when it accuses anything.

    Raises:
        UsageError: the target cannot be reached.
    """
    import json

    from backstay.observe.admin import AdminClient

    client = AdminClient(args.target, timeout=args.wait)
    document = client.get("/v1/leaks" if args.json else "/v1/leaks?text=1")
    if args.json:
        print(json.dumps(document))
    else:
        print(document["text"], end="")
    return 1 if document["findings"] else 0
