"""`backstay ps`: what the tasks of a process wait for, and how its guards are doing."""

from __future__ import annotations

import argparse
import sys
from shutil import which

from backstay.cli._attach import add_inject
from backstay.cli._target import Subparsers, add_target
from backstay.errors import UsageError

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay ps 4711                       tasks grouped by spawn site, owner and what they wait for
  backstay ps 4711 --tree                the same as a tree of owners
  backstay ps 4711 --stacks              where each group waits, call by call, and every thread
  backstay ps 4711 --guards              breakers, bulkheads, limits: state and figures of each
  backstay ps 4711 --inject              a process that was never prepared: its tasks and who waits on whom
  backstay ps /run/user/1000/backstay/4711.sock --json | jq '.groups[0]'
"""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "ps",
        help="what the tasks of a process are and what they wait for",
        description="Show the tasks of a process, grouped by owner and spawn site.",
        epilog=_EPILOG,
    )
    add_target(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--tree", action="store_true", help="as a tree of owners")
    shape.add_argument("--guards", action="store_true", help="the guards in place of the tasks")
    parser.add_argument("--stacks", action="store_true", help="with the await chain of each group")
    add_inject(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def execute(args: argparse.Namespace) -> int:
    """Print the tasks or the guards; return 0.

    Raises:
        UsageError: the target cannot be reached, or flags contradict each other.
    """
    import json

    from backstay.observe.admin import AdminClient, guards_to_text
    from backstay.observe.dump import to_text

    if args.guards and args.stacks:
        raise UsageError("--guards and --stacks contradict each other: a guard has no stack")
    if _is_unprepared(args) and (args.inject or hasattr(sys, "remote_exec") or which("py-spy")):
        return _look(args)
    client = AdminClient(args.target, timeout=args.wait)
    if args.guards:
        path, render = "/v1/guards", guards_to_text
    else:
        path, render = f"/v1/ps?stacks={int(args.stacks)}&tree={int(args.tree)}", to_text
    document = client.get(path)
    print(json.dumps(document) if args.json else render(document), end="\n" if args.json else "")
    return 0


def _is_unprepared(args: argparse.Namespace) -> bool:
    """Tell whether a process is named that has opened no admin plane at any place we know."""
    from backstay.observe.admin import find_socket

    target: str = args.target
    if not target.isdecimal() or len(target) > 9:
        if args.inject:
            raise UsageError(f"--inject is about a process: give its pid, not {target!r}")
        return False
    return find_socket(int(target)) is None


def _look(args: argparse.Namespace) -> int:
    import json

    from backstay.observe.attach import look, look_to_text

    if args.guards or args.tree:
        raise UsageError(
            "a process without Backstay has neither guards nor owners: leave the flag out"
        )
    document = look(int(args.target), injecting=args.inject, patience=args.wait)
    if args.json:
        print(json.dumps(document))
    else:
        print(look_to_text(document, stacks=args.stacks), end="")
    return 0
