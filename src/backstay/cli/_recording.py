"""The flight recorder that `backstay run --record` keeps, and the files that `--record-on` makes of it."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from backstay._base import loop_tracked
from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.recorder import Recordings

__all__ = ["recording", "waits_for_verdicts"]


@contextmanager
def recording(args: argparse.Namespace) -> Generator[None]:
    """Record every loop that is tracked inside the block, if that is wanted.

    Raises:
        UsageError: a trigger is none, or the directory of the files cannot be used.
    """
    if args.record_on is None:
        given = [
            one
            for one in ("record_dir", "record_keep", "record_every")
            if getattr(args, one) is not None
        ]
        if given:
            flag = given[0].replace("_", "-")
            raise UsageError(
                f"--{flag} says how files are kept: add --record-on slow=500ms to say when one is made"
            )
    if not args.record and args.record_on is None:
        yield
        return
    from backstay.observe.recorder import Recorder

    made = None if args.record_on is None else _recordings(args)  # before anything is attached to
    with Recorder() as recorder:
        unsubscribe = loop_tracked.subscribe(lambda _: recorder.follow())
        try:
            with made or nullcontext():
                yield
        finally:
            unsubscribe()


def waits_for_verdicts(words: str | None) -> bool:
    """Tell whether one of the triggers is a verdict, so that somebody has to judge now and then."""
    return bool({"growth", "leak"} & {word.strip() for word in (words or "").split(",")})


def _recordings(args: argparse.Namespace) -> Recordings:
    from backstay.observe.recorder import parse_triggers, record
    from backstay.observe.target import default_directory, private_directory

    triggers = parse_triggers(args.record_on)
    if args.no_sysmon and any(one.kind == "blocked" for one in triggers):
        raise UsageError("--record-on blocked and --no-sysmon contradict each other: leave one out")
    if waits_for_verdicts(args.record_on) and (args.leak_interval == 0 or args.admin == "off"):
        raise UsageError(
            "--record-on growth and leak need the census of the admin plane: leave out --leak-interval 0 and --admin off"
        )
    place = args.record_dir
    if place is None:
        place = private_directory(default_directory()) / "recordings"
    return record(
        triggers,
        Path(place),
        keep=20 if args.record_keep is None else args.record_keep,
        every=10.0 if args.record_every is None else args.record_every,
    )
