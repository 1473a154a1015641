"""`backstay diagnose --listen`: a report for each alert that an Alertmanager sends."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.cli._numbers import port
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.diagnose import Diagnosis

__all__ = ["endpoint", "listen"]

_STANDARD_PLACE = Path("reports")


def endpoint(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 address stands in brackets."""
    host, colon, number = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HOST:PORT such as 127.0.0.1:9411 or [::1]:9411"
        )
    return host, port(number)


def listen(args: argparse.Namespace) -> int:
    """Receive alerts until SIGINT or SIGTERM; return 0.

    Raises:
        UsageError: no target, no token where one is needed, or the port or directory cannot be used.
    """
    from backstay.observe.admin import AdminClient
    from backstay.observe.diagnose import AlertQueue, AlertReceiver, Shelf, survey

    if args.json:
        raise UsageError("--json and --listen contradict each other: each report has its .json")
    if args.heap:
        raise UsageError("--heap slows the target down: ask for it yourself, not with --listen")
    host, number = args.listen
    targets = _targets(args)
    token = None if args.token_file is None else _token(args.token_file)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    shelf = Shelf(args.out or _STANDARD_PLACE, args.keep)

    def look(target: str, wait: Callable[[float], bool]) -> Diagnosis | None:
        client = AdminClient(target, timeout=args.wait)
        return survey(client, args.seconds, wait, target=target, prove=args.prove)

    queue = AlertQueue(targets, look, shelf)
    # Blocked before any thread begins, so that all inherit it and the signal is this one's to take.
    ends = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        with AlertReceiver(host, number, queue.add, token=token) as receiver:
            queue.start()
            print(f"listening on {receiver.address}", file=sys.stderr, flush=True)
            signal.sigwait(ends)
        queue.stop()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _targets(args: argparse.Namespace) -> dict[str, str]:
    found: dict[str, str] = {} if args.target is None else {"": args.target}
    for text in args.targets:
        name, equals, target = text.rpartition("=")
        if not target or (equals and not name):
            raise UsageError(f"--target {text!r} is not TARGET or NAME=TARGET")
        if found.setdefault(name, target) != target:
            raise UsageError(
                f"--target names two targets {name!r}: one of them would never be asked"
                if name
                else "more than one TARGET for all alerts: write NAME=TARGET"
            )
    if not found:
        raise UsageError("--listen needs whom to look at: give --target TARGET or NAME=TARGET")
    return found


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read a token from {path}: {error}") from error
    if len(token) < 16 or any(c.isspace() for c in token):
        raise UsageError(f"the token in {path} should be one word of 16 characters or more")
    return token
