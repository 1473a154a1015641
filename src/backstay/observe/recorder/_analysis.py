"""What a trace says, as a document and as text for a terminal."""

from __future__ import annotations

from typing import Any, Final

from backstay.observe.recorder._trace import Region, Step, Trace

__all__ = ["analyse", "to_text"]

#: Seconds of the windows in which the loop's availability is told.
WINDOWS: Final = (0.001, 0.01, 0.1, 1.0)
_SHARES = (0.5, 0.99, 1.0)
_MOST_REGIONS = 20


def analyse(trace: Trace, trace_id: str = "") -> dict[str, Any]:
    """Return what a trace says, as one document.

    Args:
        trace: to look at.
        trace_id: of a request whose critical path is wanted; "" for none.

    Returns:
        Durations in seconds. ``ready`` and ``step`` are the median, the 99th percentile and the longest.
    """
    return {
        "recording": trace.recording,
        "span_s": trace.to_s - trace.from_s,
        "steps": len(trace.steps),
        "tasks": len(trace.tasks),
        "lost": trace.lost,
        "ready": trace.ready_latency(*_SHARES),
        "step": trace.step_duration(*_SHARES),
        "longest": [_told(trace, step) for step in trace.longest(10)],
        "wakes": [
            {"waker": waker, "woken": woken, "times": times}
            for waker, woken, times in trace.wakes(10)
        ],
        "availability": [
            {"window_s": window, "least_free": free} for window, free in trace.availability(WINDOWS)
        ],
        "regions": _regions(trace),
        "path": _path(trace, trace_id) if trace_id else [],
    }


def to_text(told: dict[str, Any]) -> str:
    """Return an analysis for a terminal."""
    lines = [
        f"{told['steps']:,} steps of {told['tasks']:,} tasks in {told['span_s']:.3g} s"
        + (f"; {told['lost']:,} older ones are overwritten" if told["lost"] else "")
        + ("" if told["recording"] else "; recording has stopped"),
        "",
        f"{'':24}{'median':>10}{'99 %':>10}{'longest':>10}",
        _row("ready, waits for its turn", told["ready"]),
        _row("a step holds the loop", told["step"]),
        "",
        "The loop was free, at the worst:",
        *(
            f"  {one['least_free']:>4.0%} of {_time(one['window_s'])}"
            for one in told["availability"]
        ),
    ]
    lines += ["", "Longest steps:"]
    lines += [
        f"  {_time(one['step_s']):>9}  {one['function'] or one['task']}  {one['site']}"
        + ("  (right now)" if one["lasts"] else "")
        for one in told["longest"]
    ]
    if told["wakes"]:
        lines += ["", "Who woke whom:"]
        lines += [
            f"  {one['times']:>9,}  {one['waker']} -> {one['woken']}" for one in told["wakes"]
        ]
    if told["regions"]:
        lines += [
            "",
            f"{'Regions:':24}{'times':>10}{'total':>10}{'run':>10}{'ready':>10}{'wait':>10}",
        ]
        lines += [_region_row(one) for one in told["regions"]]
    if told["path"]:
        lines += ["", "Critical path of the request:"]
        lines += [
            f"  {_time(one['ready_s']):>9} ready, {_time(one['step_s']):>9} run  "
            f"{one['function'] or one['task']}  {one['site']}"
            + (f"  [{' > '.join(one['regions'])}]" if one["regions"] else "")
            for one in told["path"]
        ]
    return "\n".join(lines) + "\n"


def _path(trace: Trace, trace_id: str) -> list[dict[str, Any]]:
    """Tell each step of the critical path, with the regions in which it was, the outermost first."""
    by_task: dict[int, list[Region]] = {}
    for region in trace.regions:
        by_task.setdefault(region.task, []).append(region)
    return [
        {
            **_told(trace, step),
            "regions": [
                one.name
                for one in by_task.get(step.task, ())
                if one.begin < step.end and one.end > step.begin
            ],
        }
        for step in trace.path_of(trace_id)
    ]


def _regions(trace: Trace) -> list[dict[str, Any]]:
    """Tell the regions by name, those that took longest first; as far as they are in the trace."""
    found: dict[str, dict[str, Any]] = {}
    for region, run_s, ready_s in trace.shares():
        row = found.setdefault(
            region.name,
            {"region": region.name, "count": 0, "lasting": 0, "total_s": 0.0}
            | {"run_s": 0.0, "ready_s": 0.0, "wait_s": 0.0},
        )
        total_s = region.end - max(region.begin, trace.from_s)
        row["count"] += 1
        row["lasting"] += region.lasts
        row["total_s"] += total_s
        row["run_s"] += run_s
        row["ready_s"] += ready_s
        row["wait_s"] += max(0.0, total_s - run_s - ready_s)
    return sorted(found.values(), key=lambda row: -row["total_s"])[:_MOST_REGIONS]


def _region_row(one: dict[str, Any]) -> str:
    figures = "".join(
        f"{_time(one[name]):>10}" for name in ("total_s", "run_s", "ready_s", "wait_s")
    )
    lasting = f"  ({one['lasting']:,} not over)" if one["lasting"] else ""
    return f"  {one['region'][:30]:22}{one['count']:>10,}{figures}{lasting}"


def _told(trace: Trace, step: Step) -> dict[str, Any]:
    task = trace.tasks[step.task] if step.task >= 0 else None
    return {
        "task": "(a callback)" if task is None else task.name,
        "function": "" if task is None else task.function,
        "site": "" if task is None else task.site,
        "owner": "" if task is None else task.owner,
        "trace_id": "" if task is None else task.trace_id,
        "before_end_s": trace.to_s - step.begin,
        "ready_s": step.begin - step.ready,
        "step_s": step.end - step.begin,
        "lasts": step.lasts,
    }


def _row(name: str, values: list[float]) -> str:
    return f"{name:26}" + "".join(f"{_time(one):>10}" for one in values).removeprefix("  ")


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"
