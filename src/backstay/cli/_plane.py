"""The admin plane that `backstay run` opens, as its flags describe it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from backstay.cli._recording import waits_for_verdicts
from backstay.observe.admin import AdminServer, read_token

__all__ = ["make_plane"]


def make_plane(args: argparse.Namespace, ready: Callable[[], bool] = lambda: True) -> AdminServer:
    """Return the plane; it is not open yet.

    Args:
        args: of `backstay run`.
        ready: tells whether the process wants traffic; called from another thread.

    Raises:
        UsageError: the token cannot be read, or is not fit.
    """
    return AdminServer(
        args.admin,
        leak_interval=30.0 if args.leak_interval is None else args.leak_interval,
        log_leaks=bool(args.log_leaks) or waits_for_verdicts(args.record_on),
        ready=ready,
        token=read_token(args.admin_token_file) if args.admin_token_file else "",
        allow_actions=bool(args.allow_actions),
    )
