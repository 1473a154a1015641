"""`backstay attach`: load Backstay into a process that runs already, and open its admin plane."""

from __future__ import annotations

import argparse
import json

from backstay.cli._numbers import seconds
from backstay.cli._target import Subparsers
from backstay.errors import UsageError

__all__ = ["add_inject", "add_parser", "execute", "pid_of"]

_EPILOG = """\
examples:
  backstay attach 4711 --inject          load Backstay into process 4711; then ps, leaks, profile 4711 work
  backstay attach 4711 --inject --json | jq -r .address

A process that has an admin plane is left as it is. Another one is entered by Python's own door where
both sides run 3.14 or later, else, only with --inject, by ptrace (Linux on x86-64, Python 3.11 to 3.13,
the same user or root). The one line says which way was taken.
Exit code: 0 = there is an admin plane, 2 = the process cannot be entered; it is as it was.
"""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "attach",
        help="load Backstay into a process that runs already",
        description="Load Backstay into a running process and open its admin plane.",
        epilog=_EPILOG,
    )
    parser.add_argument("pid", metavar="PID", type=pid_of, help="the process")
    add_inject(parser)
    parser.add_argument(
        "--allow-actions", action="store_true", help="let the admin plane act: set probes"
    )
    parser.add_argument(
        "--leak-interval",
        type=seconds,
        default=30.0,
        metavar="S",
        help="seconds between samples (30; 0 = none)",
    )
    parser.add_argument(
        "--wait", type=seconds, default=10.0, metavar="S", help="give up after this long (10)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def add_inject(parser: argparse.ArgumentParser) -> None:
    """Add the flag that allows what changes a process that is not prepared."""
    parser.add_argument(
        "--inject",
        action="store_true",
        help="where it has no admin plane, enter the process with ptrace",
    )


def pid_of(text: str) -> int:
    """Read a pid."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a pid: give the number of a process")
    return int(text)


def execute(args: argparse.Namespace) -> int:
    """Open the plane and print its address; return 0.

    Raises:
        UsageError: the process cannot be entered.
    """
    from backstay.observe.admin import find_socket
    from backstay.observe.attach import attach

    there = find_socket(args.pid)
    if there is not None:
        found = {"pid": args.pid, "address": str(there), "way": "it has an admin plane already"}
    else:
        found = attach(
            args.pid,
            injecting=args.inject,
            patience=args.wait,
            options={"leak_interval": args.leak_interval, "allow_actions": args.allow_actions},
        )
    if args.json:
        print(json.dumps(found))
        return 0
    print(f"process {args.pid}: {found['way']}; its admin plane is {found['address']}")
    if "loops" in found:
        print(
            f"{found['tracked']} of {found['loops']} loops tracked: tasks that start from now on have a "
            f"spawn site and an age; Backstay is {_origin(found['backstay'])}"
        )
    return 0


def _origin(where: str) -> str:
    if where == "its own":
        return "the process's own"
    if not where:
        raise UsageError("the answer does not say where Backstay was found")
    return f"loaded from {where}"
