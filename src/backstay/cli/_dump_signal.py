"""The signal on which `backstay run --dump-signal` writes a dump."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext

from backstay.errors import UsageError

__all__ = ["dump_signal"]


def dump_signal(args: argparse.Namespace) -> AbstractContextManager[object]:
    """Write a dump for each of the wanted signals inside the block, if one is wanted.

    Raises:
        UsageError: no such signal, or one that has a meaning already; a file without a signal.
    """
    if args.dump_signal is None:
        if args.dump_file is not None:
            raise UsageError(
                "--dump-file is where --dump-signal writes to: name the signal as well"
            )
        return nullcontext()
    from backstay.observe.dump import on_signal

    name: str = args.dump_signal
    try:
        return on_signal(int(name) if name.isdecimal() else name, file=args.dump_file)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"--dump-signal {name}: {error}") from None
