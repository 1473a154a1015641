"""The flight recorder that `backstay run --record` keeps."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import contextmanager

from backstay._base import loop_tracked

__all__ = ["recording"]


@contextmanager
def recording(args: argparse.Namespace) -> Generator[None]:
    """Record every loop that is tracked inside the block, if that is wanted."""
    if not args.record:
        yield
        return
    from backstay.observe.recorder import Recorder

    with Recorder() as recorder:
        unsubscribe = loop_tracked.subscribe(lambda _: recorder.follow())
        try:
            yield
        finally:
            unsubscribe()
