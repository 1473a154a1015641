"""`backstay diagnose`: what is wrong with a process, from which line, and for which requests."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.cli._diagnose_folder import Folder
from backstay.cli._diagnose_listen import endpoint, listen
from backstay.cli._numbers import count, interval
from backstay.cli._target import Subparsers, add_target
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.diagnose import Diagnosis
    from backstay.observe.spans import SpanRecord

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay diagnose 4711                     look for 30 s, then findings, worst first
  backstay diagnose 4711 --prove             and prove what nothing can wake any more
  backstay diagnose 4711 -o report.html      also one page to open, mail or archive
  backstay diagnose 4711 --seconds 300       for a leak that grows slowly
  backstay diagnose 4711 --heap              and which lines allocate what stays
  backstay diagnose 4711 --folder found/     the report with profiles and the flight recorder's trace
  backstay diagnose 4711 --spans spans/ --trace-url 'http://localhost:16686/trace/{trace_id}'
                                             and what the requests did that are named
  backstay diagnose 4711 --json | jq '.findings[0].site'
  backstay diagnose --listen 127.0.0.1:9411 --target 4711 -o reports
                                             a report for each alert that Alertmanager sends

It looks twice, has the tasks sampled in between, and compares. The process is not held up; a proof
stops it twice for some milliseconds. Growth needs 20 s of samples at least.
Exit code: 0 = nothing found, 1 = findings, 2 = the target cannot be reached.
"""

_STANDARD_S = 30.0
_LONGEST_TRACE_S = 60.0


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "diagnose",
        help="what is wrong with a process: one report from alert to line to request",
        description="Find out what is wrong with a process, and print one report.",
        epilog=_EPILOG,
    )
    add_target(parser, optional=True)
    parser.add_argument(
        "--seconds",
        metavar="N",
        type=interval,
        default=_STANDARD_S,
        help="how long to look (30); growth needs 20 at least",
    )
    parser.add_argument(
        "--prove",
        action="store_true",
        help="prove which blocked tasks nothing can wake any more (LEAKED, STUCK)",
    )
    parser.add_argument(
        "--heap",
        action="store_true",
        help="afterwards trace for as long (60 s at most) which lines allocate what stays; slows it down 3 to 4 times",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        type=Path,
        help="also write the report as one HTML page; with --listen the directory of reports",
    )
    parser.add_argument(
        "--folder",
        metavar="DIR",
        type=Path,
        help="write the report and the profiles beside it into a new directory",
    )
    parser.add_argument(
        "--spans",
        metavar="FILE",
        type=Path,
        action="append",
        help="show the requests that are named, span by span, from this file or directory; again for more",
    )
    parser.add_argument(
        "--trace-url",
        metavar="URL",
        default="",
        help="link requests to a tracing backend: an address with {trace_id} in it",
    )
    _add_listening(parser)


def _add_listening(parser: argparse.ArgumentParser) -> None:
    listening = parser.add_argument_group("a report for each alert of an Alertmanager")
    listening.add_argument(
        "--listen", metavar="HOST:PORT", type=endpoint, help="receive its webhooks at this address"
    )
    listening.add_argument(
        "--target",
        metavar="[NAME=]TARGET",
        dest="targets",
        action="append",
        default=[],
        help="whom to look at for alerts whose label instance, pod, job or service is NAME; again for more",
    )
    listening.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="callers have to know what is in it; needed unless HOST is loopback",
    )
    listening.add_argument(
        "--keep", metavar="N", type=count, default=100, help="reports that stay (100)"
    )


def execute(args: argparse.Namespace) -> int:
    """Print the diagnosis; return 1 when it accuses anything.

    Raises:
        UsageError: the target cannot be reached, the page cannot be written, or flags contradict each other.
    """
    if args.listen is not None:
        if args.folder or args.spans or args.trace_url:
            raise UsageError(
                "--folder, --spans and --trace-url are for one report, not for --listen"
            )
        return listen(args)
    if args.target is None or args.targets or args.token_file is not None:
        raise UsageError(
            "expected one TARGET to look at, or --listen HOST:PORT with --target for alerts"
        )
    from backstay.observe.diagnose import check_trace_url, to_text, write_page

    if args.trace_url:
        check_trace_url(args.trace_url)
    folder = None if args.folder is None else Folder(args.folder, _fetching(args))
    try:
        diagnosis = _diagnosed(args, folder)
    finally:
        if folder is not None:
            folder.drop()
    if args.out is not None:
        write_page(diagnosis, args.out)
    print(json.dumps(diagnosis.to_json()) if args.json else to_text(diagnosis).rstrip("\n"))
    if args.folder is not None:
        print(f"all of it is in {args.folder}; begin with report.html", file=sys.stderr)
    return 1 if diagnosis.causes else 0


def _diagnosed(args: argparse.Namespace, folder: Folder | None) -> Diagnosis:
    from backstay.observe.admin import AdminClient
    from backstay.observe.diagnose import allocations, survey, with_requests
    from backstay.observe.profile import from_pprof

    client = AdminClient(args.target, timeout=args.wait)
    if folder is not None:
        client.get("/v1/statistics")  # whoever is not there is told so once, and not by each part
        folder.begin(args.seconds)
    progress = _Progress(quiet=args.json)
    try:
        diagnosis = survey(
            client, args.seconds, _sleep, target=args.target, prove=args.prove, tell=progress
        )
    finally:
        progress.clear()
    assert diagnosis is not None  # nobody cuts it short but Ctrl-C, which raises
    heap = _traced_heap(args) if args.heap else None
    if heap is not None:
        diagnosis = replace(diagnosis, memory=allocations(from_pprof(heap)))
    diagnosis = with_requests(diagnosis, trace_url=args.trace_url, spans=_spans_of(args))
    if folder is not None:
        folder.end(diagnosis, heap)
    return diagnosis


def _spans_of(args: argparse.Namespace) -> list[SpanRecord] | None:
    if not args.spans:
        return None
    from backstay.observe.spans import read_spans

    return read_spans(args.spans).spans


def _fetching(args: argparse.Namespace) -> Callable[[str, float], bytes]:
    from backstay.observe.admin import AdminClient

    return lambda path, more: AdminClient(args.target, timeout=args.wait + more).fetch(path)


def _traced_heap(args: argparse.Namespace) -> bytes:
    """Have allocations traced when the looks are over: a process that is slowed down looks ill."""
    from backstay.observe.profile import PREFIX

    seconds = min(args.seconds, _LONGEST_TRACE_S)
    return _fetching(args)(f"{PREFIX}/heap?seconds={seconds:g}&gc=1", seconds + _LONGEST_TRACE_S)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class _Progress:
    """One line on stderr that counts down, where somebody sits at a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()

    def __call__(self, passed: float, total: float) -> None:
        if self._shown:
            print(f"\rlooking: {passed:.0f} of {total:.0f} s ", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
