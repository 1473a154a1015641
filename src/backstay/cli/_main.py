"""Finds the verb, runs it, and turns a person's slip into one line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from backstay.errors import UsageError

__all__ = ["OneLineParser", "entry", "main"]

_VERBS = (
    "run",
    "ps",
    "top",
    "leaks",
    "profile",
    "trace",
    "probe",
    "spans",
    "diagnose",
    "ui",
    "attach",
    "lab",
)

_EPILOG = """\
examples:
  backstay run shop.order:app --port 8000     serve an ASGI application, guarded
  backstay run worker.py --queue orders       run a script with every task tracked
  backstay ps 4711                            what all tasks of process 4711 wait for
  backstay top 4711                           the same, live: what is started, what ends, what grows
  backstay leaks 4711                         which of its tasks leak, and from which line
  backstay profile 4711 -o cpu.pb.gz          where its processor time goes, for go tool pprof
  backstay trace 4711 --seconds 5             who held the loop, who waited for it, who woke whom
  backstay probe 4711 app/orders.py:120       who comes by that line, and with what
  backstay attach 4711 --inject               load Backstay into a process that runs already
  backstay diagnose 4711                      what is wrong with it: one report, worst first
  backstay spans spans/                       what saved spans say of each service, or of one request

TARGET is a pid, the path of an admin socket, or a URL such as http://127.0.0.1:9400.
Exit code: 0 = fine, 1 = findings or a failed verdict, 2 = wrong use or unreachable target.
"""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of ours."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault(
            "allow_abbrev", False
        )  # a new flag must not change what an old one means
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        """Print the one line and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `backstay ARGV` and return the exit code.

    Args:
        argv: the arguments after the program's name; those of the process when omitted.

    Raises:
        SystemExit: for ``--help``, ``--version`` and wrong flags, as argparse does, and
            as a script run by `backstay run` asks for.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if not word.startswith("-")), "")
    parser = _parser((verb,) if verb in _VERBS else _VERBS)
    args = parser.parse_args(arguments)
    try:
        code: int = args.execute(args)
        sys.stdout.flush()
    except UsageError as error:
        print(f"{args.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `backstay ps 1 | head`: the reader has seen enough. Python would complain at exit.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 0
    return code


def entry() -> NoReturn:
    """Be the console script `backstay`."""
    sys.exit(main())


def _parser(verbs: Sequence[str]) -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="backstay",
        description="The stability kit for asyncio services.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(metavar="VERB", required=True, parser_class=OneLineParser)
    for verb in verbs:
        name = f"backstay.cli._{verb}"
        if importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        module.add_parser(subparsers)
        added = subparsers.choices[verb]
        added.set_defaults(execute=module.execute, prog=added.prog)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked, since that reads the installed metadata."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from backstay.observe.admin import backstay_version

        print(f"backstay {backstay_version()} (Python {sys.version.split()[0]})")
        parser.exit()
