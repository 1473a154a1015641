"""`backstay run`: serve an ASGI application, or run a script, under Backstay."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from backstay.cli._numbers import count, port, seconds
from backstay.cli._target import Subparsers
from backstay.errors import UsageError

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay run shop.order:app --port 8000 --grace 25
  backstay run --observe thirdparty.web:app          look only: no deadline, no limit, no cancel
  backstay run worker.py --queue orders              a script; what follows it is its own
  backstay run -m worker --queue orders

An application ends in order on the first SIGTERM (or Ctrl-C, then without lame duck): not
ready, serve on for --lame-duck, stop accepting, finish requests, run its shutdown hooks,
all within --grace. A second signal ends it at once.
Exit code: 0 = ended within the grace (130 after Ctrl-C), 1 = the application failed to start, a
hook failed, or the loop was blocked to the end, 2 = wrong use; 143 or 130 after a second signal.
A script's exit code is its own.
"""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "run",
        help="serve an ASGI application, or run a script, under Backstay",
        description="Serve an ASGI application, or run a script, under Backstay.",
        usage="backstay run [FLAGS] MODULE:APP | SCRIPT.py ARGS... | -m MODULE ARGS...",
        epilog=_EPILOG,
    )
    _add_flags(parser)
    parser.add_argument(
        "-m", dest="module", metavar="MODULE", nargs=argparse.REMAINDER, help="run a module"
    )
    parser.add_argument("target", nargs="?", metavar="MODULE:APP | SCRIPT.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--admin",
        metavar="SOCKET",
        help="where the admin plane listens: a path, 127.0.0.1:PORT, or off",
    )
    add("--admin-token-file", metavar="FILE", help="what clients of the admin plane have to know")
    add(
        "--allow-actions",
        action="store_true",
        default=None,
        help="let the admin plane act: set probes",
    )
    add(
        "--record",
        action="store_true",
        default=None,
        help="keep the last seconds of every task for 'backstay trace --last'",
    )
    add("--spans", metavar="FILE", help="write a span for each request, for 'backstay spans FILE'")
    add(
        "--record-on",
        metavar="WORDS",
        help="also write the last 10 s to a file when something happens: slow=500ms, blocked, breaker, growth, "
        "leak, deadline, shutdown; several with commas between them",
    )
    add(
        "--record-dir",
        metavar="DIR",
        help="where those files go (recordings, beside the admin socket)",
    )
    add("--record-keep", type=count, metavar="N", help="files that stay, the newest (20)")
    add(
        "--record-every", type=seconds, metavar="S", help="seconds between two files, at least (10)"
    )
    add(
        "--log-leaks",
        action="store_true",
        default=None,
        help="write each new leak verdict to the log",
    )
    add("--leak-interval", type=seconds, metavar="S", help="seconds between samples (30; 0 = none)")
    add("--block-limit", type=seconds, metavar="S", help="what counts as a blocked loop (0.1)")
    add("--no-sysmon", action="store_true", default=None, help="do not watch for blocked loops")
    add(
        "--dump-signal", metavar="SIG", help="write a dump when this signal comes: SIGUSR1, SIGQUIT"
    )
    add("--dump-file", metavar="FILE", help="append those dumps to a file (stderr)")
    add("--observe", action="store_true", default=None, help="track and attribute, protect nothing")
    _add_application_flags(parser.add_argument_group("for an application"))


def _add_application_flags(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] - argparse has no public name
    add = group.add_argument
    add("--host", metavar="H", help="address to listen on (127.0.0.1)")
    add("--port", type=port, metavar="P", help="port to listen on (8000; 0 = any free one)")
    add(
        "--loop",
        choices=("auto", "asyncio", "uvloop"),
        help="event loop (auto: uvloop if installed)",
    )
    add(
        "--timeout",
        type=seconds,
        metavar="S",
        help="deadline of a request that brings none (10; 0 = none)",
    )
    add(
        "--on-orphan",
        choices=("report", "cancel", "adopt"),
        help="tasks that outlive their request",
    )
    add("--max-in-flight", type=count, metavar="N", help="requests served at once; more get 503")
    add(
        "--admission",
        action="store_true",
        default=None,
        help="refuse (503) what cannot be finished in time, by how late the loop is",
    )
    add("--lame-duck", type=seconds, metavar="S", help="serve on this long while not ready (2)")
    add("--grace", type=seconds, metavar="S", help="from the first signal to the exit (25)")
    add(
        "--probes",
        action=argparse.BooleanOptionalAction,
        help="answer /livez, /readyz and, with a Health, /healthz (yes)",
    )
    add("--livez", metavar="PATH", help="path of the liveness probe (/livez)")
    add("--readyz", metavar="PATH", help="path of the readiness probe (/readyz)")
    add("--healthz", metavar="PATH", help="path of the detail per dependency (/healthz)")
    add("--factory", action="store_true", default=None, help="APP is a function that makes it")
    add("--access-log", action="store_true", default=None, help="log each request")
    add("--json", action="store_true", default=None, help="at the end, one document on stdout")


_APP_ONLY = (
    "host", "port", "loop", "timeout", "on_orphan", "max_in_flight", "admission", "lame_duck", "grace", "probes", "livez",
    "readyz", "healthz", "factory", "access_log", "json",
)  # fmt: skip


def execute(args: argparse.Namespace) -> int:
    """Serve or run what the arguments name; return the exit code.

    Raises:
        UsageError: no such application or script, port taken, flags that do not fit.
    """
    if args.module is not None:
        if not args.module or args.target is not None:
            raise UsageError("-m needs the name of a module: backstay run -m MODULE ARGS...")
        return _run_script(args, args.module[0], args.module[1:], is_module=True)
    target: str | None = args.target
    if target is None:
        raise UsageError("name what to run: MODULE:APP, SCRIPT.py, or -m MODULE (see --help)")
    if _is_script(target):
        return _run_script(args, target, args.arguments, is_module=False)
    return _serve(_with_late_flags(args), target)


def _is_script(target: str) -> bool:
    if target.endswith((".py", ".pyz", ".zip")) or os.path.exists(target):
        return True
    if ":" in target:
        return False
    dotted = all(map(str.isidentifier, target.split(".")))
    cure = f": did you mean {target}:app, or -m {target}?" if dotted else ""
    raise UsageError(f"{target!r} is neither MODULE:APP nor a file{cure}")


def _with_late_flags(args: argparse.Namespace) -> argparse.Namespace:
    """Read the flags after MODULE:APP too, as in `backstay run shop.order:app --port 80`."""
    if not args.arguments:
        return args
    words: Sequence[str] = args.arguments
    from backstay.cli._main import OneLineParser

    late = OneLineParser(prog=args.prog, add_help=True, usage=f"{args.prog} [FLAGS] MODULE:APP")
    _add_flags(late)
    again, extra = late.parse_known_args(words)
    if extra:
        raise UsageError(
            f"{extra[0]!r} is not a flag of 'backstay run', and an application takes no arguments"
        )
    for name, value in vars(again).items():
        if value is not None:
            setattr(args, name, value)
    return args


def _run_script(
    args: argparse.Namespace, name: str, arguments: Sequence[str], *, is_module: bool
) -> int:
    from contextlib import ExitStack

    from backstay.cli._block_watch import watch_blocks
    from backstay.cli._dump_signal import dump_signal
    from backstay.cli._recording import recording
    from backstay.cli._script import find_module, find_script, run_program
    from backstay.cli._span_file import span_file

    given = [flag for flag in _APP_ONLY if getattr(args, flag) is not None]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is for an application (MODULE:APP); "
            f"a script's own flags stand after its name"
        )
    program = find_module(name) if is_module else find_script(name)
    cleanup = ExitStack()
    cleanup.enter_context(recording(args))
    cleanup.enter_context(dump_signal(args))
    cleanup.enter_context(span_file(args, name))
    blocks = cleanup.enter_context(watch_blocks(args))
    if args.admin != "off":
        from backstay.cli._plane import make_plane

        admin = cleanup.enter_context(make_plane(args))
        if blocks is not None:
            admin.watch_blocks(blocks.statistics)
    argv0 = (program.main.__file__ or name) if is_module else name
    return run_program(program, argv0, arguments, cleanup)


def _serve(args: argparse.Namespace, target: str) -> int:
    from backstay.cli._serve import serve

    return serve(args, target)
