"""`backstay profile`: where a process spends time and memory, as a file for `go tool pprof` and others."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.cli._numbers import count, seconds
from backstay.cli._target import Subparsers
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.profile import Profile

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay profile 4711                              10 s of processor time, as a table
  backstay profile 4711 --seconds 30 -o cpu.pb.gz    for 'go tool pprof -http=: cpu.pb.gz'
  backstay profile 4711 --kind tasks                 all tasks by what they wait for
  backstay profile 4711 --kind block                 which line blocks the loop, also right now
  backstay profile 4711 --kind held                  whose tasks hold the memory
  backstay profile 4711 --kind mutex                 what the holders of locks do while others wait
  backstay profile 4711 --kind heap --seconds 20     memory by the line that allocates it
  backstay profile 4711 --format speedscope -o cpu.json
  backstay profile diff before.pb.gz after.pb.gz     what has grown, and what has shrunk
  backstay profile merge *.pb.gz -o all.pb.gz        several processes as one

TARGET is a pid, the path of an admin socket, or a URL such as http://127.0.0.1:9400; for a
socket that is called diff or merge, write ./diff.
Exit code: 0 = fine, 1 = leaked tasks were found (--kind leaks), 2 = wrong use or unreachable target.
"""

#: Of each kind: its name on the admin plane, the seconds it takes by default, and those beyond them
#: that it may need.
_KINDS: dict[str, tuple[str, float | None, float]] = {
    "cpu": ("profile", 10.0, 5.0),
    "wall": ("wall", 10.0, 5.0),
    "block": ("block", 10.0, 5.0),
    "mutex": ("mutex", 10.0, 5.0),
    "held": ("held", None, 30.0),
    "heap": ("heap", None, 65.0),
    "native": ("native", 10.0, 65.0),
    "tasks": ("task", None, 5.0),
    "leaks": ("taskleak", None, 10.0),
}
_FORMATS = ("pprof", "speedscope", "folded")


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "profile",
        help="where a process spends time and memory, as pprof, speedscope or folded stacks",
        description="Take a profile of a process, or compare and merge saved ones.",
        epilog=_EPILOG,
        usage="backstay profile TARGET [options]\n       backstay profile diff BEFORE AFTER [options]\n"
        "       backstay profile merge FILE... [options]",
    )
    parser.add_argument(
        "target", metavar="TARGET", help="pid, socket path, loopback URL, diff or merge"
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="saved profiles, for diff and merge"
    )
    parser.add_argument("--kind", choices=_KINDS, help="what to look at (cpu)")
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="how long (cpu, wall, block, mutex, native: 10; others: at once)",
    )
    parser.add_argument("--gc", action="store_true", help="heap: collect garbage first")
    parser.add_argument(
        "--frames", type=count, metavar="N", help="heap with --seconds: frames of each stack (1)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write it there; - for stdout")
    parser.add_argument("--format", choices=_FORMATS, help="of the file (pprof)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--wait", type=seconds, default=10.0, metavar="S", help="give up so long after that (10)"
    )


def execute(args: argparse.Namespace) -> int:
    """Take, compare or merge profiles, write the file and print the table.

    Raises:
        UsageError: the target cannot be reached or refuses, a file cannot be read or written, or
            flags contradict each other.
    """
    if args.json and args.output == "-":
        raise UsageError("--json and -o - contradict each other: both would write to stdout")
    if args.format and not args.output:
        raise UsageError(f"--format {args.format} is about a file: add -o FILE, or -o - for stdout")
    if args.target in ("diff", "merge"):
        kind, profile = args.target, _of_files(args)
    else:
        kind, profile = args.kind or "cpu", _of_process(args)
    _write(args, profile, kind)
    _print(args, profile, kind)
    return 1 if kind == "leaks" and profile.samples else 0


def _of_process(args: argparse.Namespace) -> Profile:
    from backstay.observe.admin import AdminClient
    from backstay.observe.profile import PREFIX, from_pprof

    kind = args.kind or "cpu"
    if args.files:
        raise UsageError(
            f"what is {args.files[0]!r}? files go with 'profile diff' and 'profile merge'"
        )
    if kind != "heap" and (args.gc or args.frames):
        raise UsageError(f"--gc and --frames are about memory, and this is --kind {kind}")
    if args.frames and args.seconds is None:
        raise UsageError("--frames needs --seconds: a census by type has no stacks")
    name, standard, more = _KINDS[kind]
    lasts: float | None = standard if args.seconds is None else args.seconds
    query: list[str] = []
    if lasts is not None:
        query.append(f"seconds={lasts:g}")
    if args.gc:
        query.append("gc=1")
    if args.frames:
        query.append(f"frames={args.frames}")
    path = f"{PREFIX}/{name}" + ("?" + "&".join(query) if query else "")
    client = AdminClient(args.target, timeout=args.wait + (lasts or 0.0) + more)
    return from_pprof(client.fetch(path))


def _of_files(args: argparse.Namespace) -> Profile:
    from backstay.observe.profile import diff, merge

    if args.kind or args.seconds is not None or args.gc or args.frames:
        raise UsageError(
            f"'profile {args.target}' reads files: it takes no flags of a running process"
        )
    files: list[str] = args.files
    if args.target == "diff":
        if len(files) != 2:
            raise UsageError(
                f"'profile diff' compares two files, before and after, not {len(files)}"
            )
        before, after = (_read(file) for file in files)
        return diff(after, before)
    return merge(_read(file) for file in files)


def _read(file: str) -> Profile:
    from backstay.observe.profile import from_pprof

    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file} ({error.strerror})") from error
    try:
        return from_pprof(data)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error


def _write(args: argparse.Namespace, profile: Profile, kind: str) -> None:
    from backstay.observe.profile import to_folded, to_pprof, to_speedscope

    if not args.output:
        return
    if args.format == "speedscope":
        data = json.dumps(to_speedscope(profile, name=f"backstay {kind}")).encode()
    elif args.format == "folded":
        data = to_folded(profile).encode("utf-8", "backslashreplace")
    else:
        data = to_pprof(profile)
    if args.output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        Path(args.output).write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {args.output} ({error.strerror})") from error


def _print(args: argparse.Namespace, profile: Profile, kind: str) -> None:
    from backstay.cli._profile_table import as_json, as_table

    if args.json:
        print(json.dumps({"file": args.output, **as_json(profile, kind)}), flush=True)
    elif args.output != "-":
        print(as_table(profile, kind), end="")
        if args.output:
            opens = {
                "speedscope": "https://www.speedscope.app opens it",
                "folded": "flamegraph.pl reads it",
            }.get(args.format, f"go tool pprof -http=: {args.output}")
            print(f"wrote {args.output}: {opens}")
        sys.stdout.flush()
