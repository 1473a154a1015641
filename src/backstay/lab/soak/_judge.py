"""What a soak must show. Pure: figures in, checks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from backstay.lab.compare import Check, RootCause, Sample
from backstay.lab.load import SecondRecord
from backstay.lab.scenario import Fault

__all__ = ["SoakLimits", "SoakLook", "judge_soak"]

_RECOVERY_S = 5  # after a fault, seconds that are not held against anybody


@dataclass(frozen=True, slots=True)
class SoakLimits:
    """How far the last minute may be from the first."""

    tasks_ratio: float = 1.25  # of the median number of tasks
    tasks_more: int = 20  # and so many beyond, since small numbers jump
    rss_ratio: float = 1.10  # of the median resident memory of all services
    success_min: float = 0.999  # of requests that ended outside of faults


@dataclass(frozen=True, slots=True)
class SoakLook:
    """What was seen in one minute, or a quarter of a short soak."""

    from_s: float  # seconds of load
    until_s: float
    tasks: float | None  # median of all services together
    rss: float | None  # the same, bytes


def look(samples: Sequence[Sample], begin_s: float, end_s: float) -> SoakLook:
    """Return the medians of the samples between two times of the load."""
    some = [one for one in samples if begin_s <= one.t < end_s]
    tasks = [one.tasks for one in some if one.tasks is not None]
    rss = [one.rss for one in some if one.rss is not None]
    return SoakLook(begin_s, end_s, median(tasks) if tasks else None, median(rss) if rss else None)


def judge_soak(
    *,
    first: SoakLook,
    last: SoakLook,
    seconds: Sequence[SecondRecord],
    faults: Sequence[Fault],
    warmup_s: float,
    causes: Sequence[RootCause],
    asked: Mapping[str, bool],
    limits: SoakLimits,
) -> tuple[Check, ...]:
    """Say of each thing that was asked whether it was given.

    Args:
        first: the first minute after the warm-up, before any fault.
        last: the last minute of load, after the last fault.
        seconds: the load, second by second.
        faults: what was broken, and when.
        warmup_s: seconds that are not judged.
        causes: what the services accuse at the end, after the load.
        asked: of each service, whether it could be asked for that.
        limits: see there.
    """
    return (
        _broken(faults),
        _verdicts(causes, asked),
        _tasks(first, last, limits),
        _memory(first, last, limits),
        _success(seconds, faults, warmup_s, limits),
    )


def _broken(faults: Sequence[Fault]) -> Check:
    if not faults:
        return Check("faults", "unknown", "no fault had time to come and go: give more minutes")
    kinds = len({fault.label for fault in faults})
    return Check("faults", "met", f"{len(faults)} faults of {kinds} kinds came and went")


def _verdicts(causes: Sequence[RootCause], asked: Mapping[str, bool]) -> Check:
    mute = sorted(name for name, answered in asked.items() if not answered)
    if causes:
        named = "; ".join(f"{one.verdict} at {one.site}" for one in causes[:3])
        return Check("verdicts", "missed", f"{len(causes)} leaks at the end: {named}")
    if mute:
        return Check("verdicts", "unknown", f"{', '.join(mute)} did not say what leaks at the end")
    return Check("verdicts", "met", f"no verdict at the end, of {len(asked)} services")


def _tasks(first: SoakLook, last: SoakLook, limits: SoakLimits) -> Check:
    if first.tasks is None or last.tasks is None:
        return Check(
            "tasks", "unknown", "the tasks could not be counted in the first or last minute"
        )
    most = first.tasks * limits.tasks_ratio + limits.tasks_more
    said = f"{first.tasks:,.0f} tasks in the first minute, {last.tasks:,.0f} in the last (at most {most:,.0f})"
    return Check("tasks", "met" if last.tasks <= most else "missed", said)


def _memory(first: SoakLook, last: SoakLook, limits: SoakLimits) -> Check:
    if not first.rss or last.rss is None:
        return Check("memory", "unknown", "memory could not be read in the first or last minute")
    ratio = last.rss / first.rss
    said = (
        f"{first.rss / 1e6:,.0f} MB in the first minute, {last.rss / 1e6:,.0f} MB in the last "
        f"({ratio - 1:+.1%}, at most {limits.rss_ratio - 1:+.0%})"
    )
    return Check("memory", "met" if ratio <= limits.rss_ratio else "missed", said)


def _success(
    seconds: Sequence[SecondRecord], faults: Sequence[Fault], warmup_s: float, limits: SoakLimits
) -> Check:
    ok = done = 0
    for one in seconds:
        broken = any(
            fault.at_s - 1 <= one.second <= (fault.until_s or 0.0) + _RECOVERY_S for fault in faults
        )
        if one.second >= warmup_s and not broken:
            ok, done = ok + one.ok, done + one.done
    if not done:
        return Check("success", "unknown", "no request ended outside of faults")
    share = ok / done
    said = f"{share:.3%} of {done:,} requests outside of faults succeeded (at least {limits.success_min:.1%})"
    return Check("success", "met" if share >= limits.success_min else "missed", said)
