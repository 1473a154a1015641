"""`backstay trace`: the steps of all tasks of a process, for people and for Perfetto."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from backstay.cli._numbers import seconds
from backstay.cli._target import Subparsers, add_target
from backstay.errors import UsageError

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay trace 4711                       the next 5 s: who held the loop, who woke whom
  backstay trace 4711 --last 10             the last 10 s of a process under 'backstay run --record'
  backstay trace 4711 --last 10 -o t.pftrace    for https://ui.perfetto.dev
  backstay trace 4711 --request 4bf92f3577b34da6a3ce929d0e0e4736    its critical path

Ready: scheduled, and waiting for its turn. A step: from there to the next await; meanwhile
nothing else runs on that loop.
Exit code: 0 = fine, 2 = wrong use or unreachable target.
"""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "trace",
        help="the steps of all tasks over some seconds, as a report or for Perfetto",
        description="Record the steps of all tasks of a process, or read its flight recorder.",
        epilog=_EPILOG,
    )
    add_target(parser)
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--seconds", type=seconds, metavar="S", help="record the next S seconds (5)")
    when.add_argument("--last", type=seconds, metavar="S", help="read the last S seconds")
    parser.add_argument("--request", metavar="TRACE_ID", help="show the critical path of a request")
    parser.add_argument("-o", "--output", metavar="FILE", help="write a file for Perfetto")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def execute(args: argparse.Namespace) -> int:
    """Ask for the trace, and write or print it; return 0.

    Raises:
        UsageError: the target cannot be reached or refuses, or the file cannot be written.
    """
    from backstay.observe.recorder import to_text
    from backstay.observe.target import AdminClient

    if args.output and (args.json or args.request):
        raise UsageError(
            "-o writes a file for Perfetto: --json and --request print a report instead"
        )
    if args.request and not (
        len(args.request) == 32 and set(args.request) <= set("0123456789abcdef")
    ):
        raise UsageError(f"--request {args.request!r} is not a trace id: 32 hexadecimal digits")
    span = args.last or args.seconds or 5.0
    what = f"{'last' if args.last else 'seconds'}={span:g}"
    client = AdminClient(args.target, timeout=args.wait + (0.0 if args.last else span))
    if not args.last and sys.stderr.isatty():
        print(f"recording for {span:g} s ...", file=sys.stderr, flush=True)
    if args.output:
        _write(Path(args.output), client.fetch(f"/debug/pprof/trace?{what}"))
        return 0
    told = client.get(f"/v1/trace?{what}" + (f"&trace_id={args.request}" if args.request else ""))
    print(json.dumps(told) if args.json else to_text(told), end="\n" if args.json else "")
    if args.request and not told["path"]:
        print(f"nothing of the request {args.request} was recorded", file=sys.stderr)
    return 0


def _write(path: Path, body: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(body)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"cannot write {str(path)!r}: {error.strerror}") from error
    print(f"{path}: {len(body):,} bytes; open it in https://ui.perfetto.dev", file=sys.stderr)
