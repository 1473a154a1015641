"""`backstay run MODULE:SERVICE`: a declared service as a process."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from backstay.errors import UsageError
from backstay.leak import keepers
from backstay.lifecycle import Service, run_service

__all__ = ["run_declared"]

_FOR_APPLICATIONS = (
    "host", "port", "timeout", "on_orphan", "max_in_flight", "admission", "probes", "livez", "readyz", "healthz",
    "access_log",
)  # fmt: skip


def run_declared(
    service: Service, args: argparse.Namespace, loop_factory: Callable[[], Any]
) -> int:
    """Run `service` until a signal; return the exit code.

    Raises:
        UsageError: a flag is for applications only, or the grace and the lame duck do not fit.
    """
    given = [flag for flag in _FOR_APPLICATIONS if getattr(args, flag) is not None]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is for an ASGI application: service {service.name!r} "
            f"opens its own doors"
        )
    grace = service.grace if args.grace is None else args.grace
    lame_duck = service.lame_duck if args.lame_duck is None else args.lame_duck
    if not 0 <= lame_duck < grace:
        raise UsageError(
            f"--lame-duck and --grace: {lame_duck:g} s to serve on leave nothing of {grace:g} s to stop in"
        )
    service.grace, service.lame_duck = grace, lame_duck
    code = run_service(service, loop_factory=loop_factory, describe=_keepers)
    if args.json:
        print(
            json.dumps({"exit_code": code, "pid": os.getpid(), **asdict(service.record())}),
            flush=True,
        )
    return code


def _keepers() -> list[str]:
    try:
        return [f"{one.kind} {one}" for one in keepers().holding]
    except Exception as error:  # last words: half of them are better than none
        return [f"what else is left could not be told ({type(error).__name__}: {error})"]
