"""What a pool of workers says when it refuses: the value seen, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backstay.errors import BackstayError, ExpiredError, FullError, GuardMisuse, ShedError

__all__ = ["caller_late", "ended", "full", "in_line_too_long", "no_function", "not_open"]


def no_function(title: str) -> TypeError:
    """Say that a pool without a function of its own was handed none."""
    return TypeError(
        f"{title} was made without a function: hand one over with each job, as in submit(fn, *args)"
    )


def not_open(title: str, name: str, state: str, fn: Callable[..., Any]) -> BackstayError:
    """Say that a pool takes no jobs yet, or no more."""
    what = getattr(fn, "__qualname__", repr(fn))
    if state == "new":
        return GuardMisuse(
            f"{title} was handed {what} before it was open: use it inside 'async with pool:', for "
            f"example in the lifespan of the application"
        )
    return ended(title, name, state, f"takes no more jobs, and was handed {what}")


def ended(title: str, name: str, state: str, what: str) -> ShedError:
    """Say what a pool did not do because it ends."""
    return ShedError(f"{title} is {state}: it {what}", policy=name)


def caller_late(title: str, name: str) -> ExpiredError:
    """Say that there is no time left for a job."""
    return ExpiredError(
        f"{title}: the caller's deadline has passed, so no job was begun", policy=name
    )


def in_line_too_long(
    title: str, name: str, job: str, waited: float, setter: str, busy: str
) -> ExpiredError:
    """Say that the deadline of a job passed before it began."""
    return ExpiredError(
        f"{title} did not begin {job!r}: it was in line for {waited:.3g} s when the deadline of "
        f"{setter!r} passed; {busy} workers are busy",
        policy=name,
    )


def full(title: str, name: str, running: int, queued: int, workers: int, room: int) -> FullError:
    """Say that there is no room for another job."""
    return FullError(
        f"{title} is full: {running} jobs under way, {queued} in line (workers={workers}, "
        f"queue={room}). Hand over less, or give it more workers if what they use can take that",
        policy=name,
    )
