"""The watch on blocked loops that `backstay run` keeps unless told otherwise."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from backstay._base import loop_blocked
from backstay.errors import UsageError
from backstay.multiloop import BlockLog, Sysmon, running_multiloops
from backstay.tasks import installed_loops

__all__ = ["watch_blocks"]

_LIMIT_S = 0.1


@contextmanager
def watch_blocks(args: argparse.Namespace) -> Generator[Sysmon | None]:
    """Watch every tracked loop inside the block, and log each time one is blocked.

    Raises:
        UsageError: the flags contradict each other.
    """
    limit: float = _LIMIT_S if args.block_limit is None else args.block_limit
    if args.no_sysmon and args.block_limit:
        raise UsageError("--no-sysmon and --block-limit contradict each other: leave one out")
    if args.no_sysmon or not limit:
        yield None
        return
    unsubscribe = loop_blocked.subscribe(BlockLog())
    try:
        with Sysmon(_loops, limit) as sysmon:
            yield sysmon
    finally:
        unsubscribe()


def _loops() -> list[asyncio.AbstractEventLoop]:
    """Return the loops that should never be blocked: all but those made for it."""
    apart = {id(loop) for pool in running_multiloops() for loop in pool.loops}
    return [loop for loop in installed_loops() if id(loop) not in apart]
