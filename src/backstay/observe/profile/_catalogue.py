"""The profiles that an admin plane offers, by name."""

from __future__ import annotations

from collections.abc import Callable

from backstay.multiloop import SysmonStatistics
from backstay.observe.profile._asked import Asked, Wait
from backstay.observe.profile._block import block_profile, known_blocks
from backstay.observe.profile._cpu import cpu_profile
from backstay.observe.profile._desk import Desk, Kind
from backstay.observe.profile._heap import heap_profile
from backstay.observe.profile._held import held_profile
from backstay.observe.profile._leaks import leak_lines
from backstay.observe.profile._mutex import mutex_profile
from backstay.observe.profile._native import native_profile
from backstay.observe.profile._profile import Profile, diff
from backstay.observe.profile._tasks import profile_of, task_lines
from backstay.observe.profile._text import full_text
from backstay.observe.profile._wall import wall_profile

__all__ = ["make_desk"]

# Go's: the client that does not say how long it wants to look gets so much.
_CPU_S = 30.0
# A window in which the process is slowed down; long enough for a few requests.
_NATIVE_S = 10.0
# Long enough to see a loop that is blocked, where nobody has watched it before.
_GLANCE_S = 0.5


def make_desk(blocks: Callable[[], object] = lambda: None) -> Desk:
    """Return a desk with all profiles of this process.

    Args:
        blocks: returns the statistics of the `Sysmon` that watches the loops, or None.
    """
    return Desk(
        (
            Kind(
                "task",
                "all tasks: await chain, spawn site, owner, what they wait for",
                _task,
                aliases=("goroutine",),
            ),
            Kind(
                "taskleak",
                "tasks that nothing can wake any more, proved twice",
                _taskleak,
                longest_s=60.0,
                aliases=("goroutineleak",),
            ),
            Kind(
                "profile",
                "where the processor's time goes, by stack, task, owner and trace (30 s)",
                _profile,
            ),
            Kind("wall", "where tasks spend their lives, sampled (30 s)", _wall),
            Kind(
                "block",
                "which code blocks a loop, also while it does; with seconds, where tasks wait",
                lambda asked, wait: _block(asked, wait, blocks),
            ),
            Kind(
                "mutex",
                "what the holders of locks do while others wait for them, sampled",
                lambda asked, wait: mutex_profile(asked.seconds or _GLANCE_S, wait),
            ),
            Kind(
                "native",
                "memory that C code has allocated within a window, by the line that called it; needs memray",
                lambda asked, wait: native_profile(asked.seconds or _NATIVE_S, wait),
                longest_s=60.0,
            ),
            Kind(
                "held",
                "memory that tasks hold, by the line that started them and by owner",
                lambda asked, wait: _over(asked, wait, held_profile),
                longest_s=60.0,
            ),
            Kind(
                "heap",
                "memory by type; with seconds, by the line that allocates it",
                heap_profile,
                longest_s=60.0,
            ),
        )
    )


def _task(asked: Asked, wait: Wait) -> Profile | str:
    if asked.debug == 2:
        return full_text(task_lines())
    return _over(asked, wait, lambda: profile_of(task_lines()))


def _taskleak(asked: Asked, wait: Wait) -> Profile | str:
    if asked.debug == 2:
        lines, comments = leak_lines(wait)
        return full_text(lines) or "".join(f"# {one}\n" for one in ("no leak", *comments))
    return _over(asked, wait, lambda: profile_of(*leak_lines(wait)))


def _profile(asked: Asked, wait: Wait) -> Profile:
    return cpu_profile(asked.seconds or _CPU_S, asked.rate, wait)


def _wall(asked: Asked, wait: Wait) -> Profile:
    return wall_profile(asked.seconds or _CPU_S, wait)


def _block(asked: Asked, wait: Wait, blocks: Callable[[], object]) -> Profile:
    if asked.seconds is None:
        known = blocks()
        if isinstance(known, SysmonStatistics):
            return known_blocks(known)
    return block_profile(asked.seconds or _GLANCE_S, wait)


def _over(asked: Asked, wait: Wait, collect: Callable[[], Profile]) -> Profile:
    """Return what is there now, or what `seconds` have changed."""
    if asked.seconds is None:
        return collect()
    before = collect()
    if wait(asked.seconds):
        return before
    return diff(collect(), before)
