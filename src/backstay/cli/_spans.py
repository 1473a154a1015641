"""`backstay spans`: the spans in files, as a table of services or as the waterfall of a request."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.cli._numbers import count
from backstay.cli._target import Subparsers
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.spans import Bar, ReadSpans

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay spans spans/                     one row a service: how slow, how often wrong, what keeps it
  backstay spans order.jsonl stock.jsonl    the same of some files
  backstay spans spans/ --slowest 3         the three slowest requests, span by span
  backstay spans spans/ --trace 4bf92f3577b34da6a3ce929d0e0e4736    one request

The files hold OTLP in JSON, one document a line: 'backstay run --spans FILE' writes it,
and so does the file exporter of a collector.
A dark bar is time in which nothing but that span kept the request.
Exit code: 0 = fine, 2 = wrong use, no such trace, or a file that cannot be read.
"""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "spans",
        help="what saved spans say: a table of services, or one request as a waterfall",
        description="Read spans from files: a table of services, or single requests.",
        epilog=_EPILOG,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="files, or directories of *.jsonl")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--trace", metavar="TRACE_ID", help="the waterfall of one request")
    which.add_argument("--slowest", type=count, metavar="N", help="of the N slowest requests")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def execute(args: argparse.Namespace) -> int:
    """Print the table or the waterfalls; return 0.

    Raises:
        UsageError: a file cannot be read, or holds no spans or none of the trace.
    """
    from backstay.observe.spans import read_spans, service_table, table_to_text

    wanted: str = (args.trace or "").lower()
    if wanted and not (len(wanted) == 32 and set(wanted) <= set("0123456789abcdef")):
        raise UsageError(f"--trace {args.trace!r} is not a trace id: 32 hexadecimal digits")
    read = read_spans(map(Path, args.files), trace_id=wanted)
    if not read.spans:
        what = f"of the trace {wanted}" if wanted else "at all"
        raise UsageError(f"there are no spans {what} in {', '.join(args.files)[:200]}")
    _tell_what_is_missing(read)
    if wanted or args.slowest:
        _show_requests(_requests(read, wanted, args.slowest or 1), as_json=args.json)
        return 0
    rows = service_table(read.spans)
    print(json.dumps([asdict(row) for row in rows]) if args.json else table_to_text(rows).rstrip())
    return 0


def _requests(read: ReadSpans, wanted: str, most: int) -> list[list[Bar]]:
    from backstay.observe.spans import trees, waterfall

    if wanted:
        return [waterfall(read.spans, wanted)]
    slowest = sorted(trees(read.spans), key=lambda root: -root.span.seconds)
    ids = list(dict.fromkeys(root.span.trace_id for root in slowest))[:most]
    return [waterfall(read.spans, one) for one in ids]


def _show_requests(requests: list[list[Bar]], *, as_json: bool) -> None:
    from backstay.observe.spans import waterfall_to_text

    if as_json:
        print(json.dumps([[bar.to_json() for bar in bars] for bars in requests]))
        return
    width = shutil.get_terminal_size((100, 24)).columns
    print("\n".join(waterfall_to_text(bars, width) for bars in requests).rstrip())


def _tell_what_is_missing(read: ReadSpans) -> None:
    if read.broken:
        print(f"{read.broken} lines are no document of spans, and left out", file=sys.stderr)
    if read.left_out:
        print(
            f"{read.left_out:,} spans are left out: {len(read.spans):,} are looked at; give fewer files",
            file=sys.stderr,
        )
