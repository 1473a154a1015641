"""What every verb that looks at a running process has in common: how to name it."""

from __future__ import annotations

import argparse

from backstay.cli._numbers import seconds

__all__ = ["Subparsers", "add_target"]

Subparsers = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage] - argparse has no public name


def add_target(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the argument TARGET, and how long to wait for it.

    Args:
        parser: of the verb.
        optional: whether it may be left out; it is None then.
    """
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?" if optional else None,
        help="pid, socket path or loopback URL",
    )
    parser.add_argument(
        "--wait", type=seconds, default=10.0, metavar="S", help="give up after this long (10)"
    )
