"""`backstay top`: the tasks of a process by the line that started them, live in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from backstay.cli._numbers import count, interval
from backstay.cli._target import Subparsers, add_target
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.top import Look, Looker, View

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay top 4711                      live; h shows the keys, q quits
  backstay top 4711 --sort growth        what grows fastest first
  backstay top 4711 --filter checkout    only spawn sites, owners and waits with that word
  backstay top 4711 --once               one page, for a file or a pipe
  backstay top 4711 --batch 60 --json    a line of JSON each second, for a minute

Keys: q quit, s sort, r reverse, f filter, p pause, Enter details, +/- interval.
Exit code: 0 = fine, 2 = wrong use, or a target that cannot be reached or ends under --batch.
"""

#: As `observe.top.ORDERS`, which is not loaded for the sake of --help; a test compares.
_ORDERS = ("alive", "growth", "born", "ended", "oldest", "site", "blocked", "owner")


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "top",
        help="the tasks of a process by spawn site, live in the terminal",
        description="Watch a process: tasks by spawn site, loops, guards, verdicts.",
        epilog=_EPILOG,
    )
    add_target(parser)
    parser.add_argument(
        "--interval", type=interval, default=1.0, metavar="S", help="seconds between looks (1)"
    )
    parser.add_argument(
        "--sort", choices=_ORDERS, default="alive", help="what the rows are ordered by (alive)"
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument(
        "--filter", default="", metavar="WORDS", help="only rows in which all of the words occur"
    )
    parser.add_argument("--rows", type=count, metavar="N", help="rows of a page at most (all)")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--once", action="store_true", help="one page and no keys; so too without a terminal"
    )
    shape.add_argument("--batch", type=count, metavar="N", help="N pages, one after the other")
    parser.add_argument(
        "--json", action="store_true", help="JSON in place of a page: one document, or N lines"
    )


def execute(args: argparse.Namespace) -> int:
    """Watch the process; return 0.

    Raises:
        UsageError: the target cannot be reached, or is gone before the last page of a batch.
    """
    from backstay.observe.target import AdminClient
    from backstay.observe.top import Looker, View

    view = View(
        interval=args.interval, order=args.sort, reverse=args.reverse, words=args.filter.strip()
    )
    looker = Looker(AdminClient(args.target, timeout=args.wait))
    first = looker.look()
    if args.once or args.batch or args.json or not _has_terminal():
        _print_pages(args, looker, view)
        return 0
    return _watch(args, looker, view, first)


def _has_terminal() -> bool:
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    return sys.stdin.isatty() and sys.stdout.isatty() and not dumb


def _print_pages(args: argparse.Namespace, looker: Looker, view: View) -> None:
    """Print a page after each interval: the look before the first one is where rates begin."""
    import json

    for number in range(args.batch or 1):
        time.sleep(args.interval)
        look = looker.look()
        if args.json:
            print(json.dumps(look.figures.to_json()), flush=True)
            continue
        print("\n" * (number > 0) + _page(look, view, args.rows), flush=True)


def _page(look: Look, view: View, rows: int | None) -> str:
    from backstay.observe.top import flat, plain, sheet
    from backstay.observe.top._terminal import paint_for, speaks_unicode

    shown = sys.stdout.isatty()
    width = os.get_terminal_size(sys.stdout.fileno()).columns if shown else 0
    lines = sheet(look, view, rows=rows, width=width)
    if not speaks_unicode(sys.stdout.encoding):
        lines = [tuple(span._replace(text=plain(span.text)) for span in line) for line in lines]
    if not shown or os.environ.get("NO_COLOR"):
        return "\n".join(flat(line).rstrip() for line in lines)
    paint = paint_for(os.environ)
    return "\n".join("".join(paint(span.look, span.text) for span in line) for line in lines)


def _watch(args: argparse.Namespace, looker: Looker, view: View, first: Look) -> int:
    from backstay.observe.top import live
    from backstay.observe.top._terminal import Terminal, paint_for

    with Terminal(paint_for(os.environ)) as terminal:
        trouble = live(looker, terminal, view, first)
    if terminal.ended_by:
        return 128 + terminal.ended_by
    if trouble:  # the screen that told it is gone
        raise UsageError(trouble)
    return 0
