"""`backstay trace`: the steps of all tasks of a process, for people and for Perfetto."""

from __future__ import annotations

import argparse
import io
import json
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstay.cli._numbers import seconds
from backstay.cli._target import Subparsers, add_target
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.recorder import Recording

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay trace 4711                       the next 5 s: who held the loop, who woke whom
  backstay trace 4711 --last 10             the last 10 s of a process under 'backstay run --record'
  backstay trace 4711 --last 10 -o t.pftrace    for https://ui.perfetto.dev
  backstay trace 4711 --request 4bf92f3577b34da6a3ce929d0e0e4736    its critical path
  backstay trace 4711 --recordings          what 'backstay run --record-on' has written
  backstay trace 4711 --recording NAME      one of them; -o FILE.recording saves it as it is
  backstay trace NAME.recording             the same of a file; -o t.pftrace for Perfetto

Ready: scheduled, and waiting for its turn. A step: from there to the next await; meanwhile
nothing else runs on that loop.
Exit code: 0 = fine, 2 = wrong use or unreachable target.
"""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "trace",
        help="the steps of all tasks over some seconds, as a report or for Perfetto",
        description="Record the steps of all tasks of a process, or read its flight recorder or a file of it.",
        epilog=_EPILOG,
    )
    add_target(parser)
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--seconds", type=seconds, metavar="S", help="record the next S seconds (5)")
    when.add_argument("--last", type=seconds, metavar="S", help="read the last S seconds")
    when.add_argument("--recordings", action="store_true", help="list what was recorded by itself")
    when.add_argument("--recording", metavar="NAME", help="read one of these")
    parser.add_argument("--request", metavar="TRACE_ID", help="show the critical path of a request")
    parser.add_argument("-o", "--output", metavar="FILE", help="write a file for Perfetto")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def execute(args: argparse.Namespace) -> int:
    """Ask for the trace, and write or print it; return 0.

    Raises:
        UsageError: the target cannot be reached or refuses, or a file cannot be read or written.
    """
    from backstay.observe.recorder import to_text
    from backstay.observe.target import AdminClient

    _check(args)
    if _is_file(args.target):
        return _read_file(args)
    if args.recordings:
        told = AdminClient(args.target, timeout=args.wait).get("/v1/recordings")
        print(json.dumps(told) if args.json else _listed(told))
        return 0
    if args.recording is not None:
        name = args.recording
        if not (name.isascii() and name.isprintable() and not set(name) & set(" /?#%")):
            raise UsageError(
                f"--recording {name!r} is not the name of one: --recordings lists them"
            )
        body = AdminClient(args.target, timeout=args.wait).fetch(f"/v1/recordings/{name}")
        return _tell(args, body, name)
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


def _check(args: argparse.Namespace) -> None:
    if args.output and (args.json or args.request):
        raise UsageError(
            "-o writes a file for Perfetto: --json and --request print a report instead"
        )
    if args.recordings and (args.output or args.request):
        raise UsageError("--recordings lists them: name one with --recording for -o or --request")
    if args.request and not (
        len(args.request) == 32 and set(args.request) <= set("0123456789abcdef")
    ):
        raise UsageError(f"--request {args.request!r} is not a trace id: 32 hexadecimal digits")


def _is_file(target: str) -> bool:
    try:
        return not target.isdecimal() and stat.S_ISREG(os.stat(target).st_mode)
    except (OSError, ValueError):
        return False


def _read_file(args: argparse.Namespace) -> int:
    if args.seconds or args.last or args.recordings or args.recording:
        raise UsageError(
            f"{args.target} is a file, and read whole: --last and the like are for a process"
        )
    try:
        body = Path(args.target).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {args.target!r}: {error.strerror}") from error
    return _tell(args, body, args.target)


def _tell(args: argparse.Namespace, body: bytes, name: str) -> int:
    """Print the report of a recording, or write it to a file."""
    from backstay.observe.recorder import analyse, read_recording, to_perfetto, to_text, understand

    found = read_recording(io.BytesIO(body), name)
    if args.output and args.output.endswith(".recording"):
        _write(Path(args.output), body, f"read it with 'backstay trace {args.output}'")
        return 0
    trace = understand(found.capture)
    if args.output:
        _write(Path(args.output), to_perfetto(trace))
        return 0
    told = analyse(trace, args.request or str(found.about.get("trace_id") or ""))
    if args.json:
        print(json.dumps({"about": found.about, **told}))
    else:
        print(_headed(found) + to_text({**told, "recording": True}), end="")
    if args.request and not told["path"]:
        print(f"nothing of the request {args.request} was recorded", file=sys.stderr)
    return 0


def _headed(found: Recording) -> str:
    """Say why it was made, and which lines have blocked a loop meanwhile."""
    about = found.about
    lines = [f"{_moment(about.get('made_at'))}, process {about.get('pid')}: {about.get('text')}"]
    if about.get("trace_id"):
        lines.append(f"Trace id {about['trace_id']}")
    lines += [f"  and then: {one['text']}" for one in about.get("also", ())]
    blocks: list[dict[str, Any]] = list(about.get("blocks", ()))
    if blocks:
        lines += ["", "Blocked loops:"]
    for one in sorted(blocks, key=lambda block: -block["duration_s"])[:10]:
        who = f", task {one['task']}" if one.get("task") else ""
        lasts = "" if one.get("ended") else " so far"
        lines.append(f"  {one['duration_s']:.3g} s{lasts}  {one['function']} at {one['site']}{who}")
        lines += [f"      {frame}" for frame in one.get("stack", ())[:4]]
    return "\n".join(lines) + "\n\n"


def _listed(told: dict[str, Any]) -> str:
    if not told["recordings"]:
        when = f": nothing of {', '.join(told['triggers'])} has happened" if not told["why"] else ""
        return told["why"] or f"no recordings in {told['directory']}{when}"
    lines = [
        f"{_moment(one['at'])}  {one['kind']:<9} {one['bytes']:>11,} bytes  {one['name']}"
        + (f"\n    {one['text']}" if one["text"] else "")
        for one in told["recordings"]
    ]
    passed = ", ".join(f"{times} of {kind}" for kind, times in told["passed_over"].items())
    if passed:
        lines.append(f"came too soon after another: {passed}")
    if told["failed"]:
        lines.append(f"could not be written: {told['failed']}; the log says why")
    return "\n".join(lines)


def _moment(at: Any) -> str:
    if not isinstance(at, int | float) or not 0 <= at < 2**36:
        return "?"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _write(path: Path, body: bytes, what: str = "open it in https://ui.perfetto.dev") -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(body)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"cannot write {str(path)!r}: {error.strerror}") from error
    print(f"{path}: {len(body):,} bytes; {what}", file=sys.stderr)
