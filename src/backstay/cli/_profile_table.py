"""A profile as a table for a terminal: functions where these matter, groups of tasks elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from backstay.observe.profile import Frame, Profile, Sample, top

__all__ = ["as_json", "as_table"]

_ROWS = 15
# Types of values that belong to functions; of all others the labels say more than the leaf.
_BY_FUNCTION = {"cpu", "inuse_space"}
_LIBRARY = ("/site-packages/", "/dist-packages/", "/lib/python3", "/backstay/")
_STEPS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))
_SIZES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def as_json(profile: Profile, kind: str) -> dict[str, Any]:
    """Return what the table shows, and all comments, as JSON values."""
    name, unit = _shown(profile)
    return {
        "kind": kind,
        "type": name,
        "unit": unit,
        "total": profile.total(_place(profile)),
        "stacks": len(profile.samples),
        "taken_at": profile.taken_at,
        "duration_s": round(profile.duration_s, 3),
        "comments": list(profile.comments),
        "top": top(profile, _ROWS),
        "groups": [_group(profile, sample) for sample in _largest(profile)],
    }


def as_table(profile: Profile, kind: str) -> str:
    """Return the table, ending in a newline.

    Args:
        profile: what to show.
        kind: what was asked for, for the first line.
    """
    name, unit = _shown(profile)
    whole = profile.total(_place(profile))
    changes = any(sample.values[_place(profile)] < 0 for sample in profile.samples)
    lasted = f" in {profile.duration_s:.1f} s" if profile.duration_s else ""
    lines = [f"{kind}: {_amount(whole, unit)} {name}{lasted}, {len(profile.samples)} stacks"]
    if not profile.samples:
        lines.append("nothing was counted")
    elif name in _BY_FUNCTION:
        lines += _functions(profile, unit, 0 if changes else whole)
    else:
        lines += _groups(profile, unit)
    lines += [f"# {comment}" for comment in profile.comments[:3]]
    return "".join(f"{line}\n" for line in lines)


def _functions(profile: Profile, unit: str, whole: int) -> Iterator[str]:
    yield f"{'FLAT':>10} {'%':>6} {'CUM':>10} {'%':>6}  FUNCTION"
    for row in top(profile, _ROWS):
        flat, cum = row["flat"], row["cum"]
        place = f"  {row['file']}:{row['line']}" if row["file"] else ""
        yield (
            f"{_amount(flat, unit):>10} {_part(flat, whole):>6} {_amount(cum, unit):>10} "
            f"{_part(cum, whole):>6}  {row['function']}{place}"
        )


def _groups(profile: Profile, unit: str) -> Iterator[str]:
    for sample in _largest(profile):
        labels = dict(sample.labels)
        frame = _own_frame(sample.stack)
        what = labels.get("wait") or labels.get("state") or ""
        if labels.get("blocked") == "loop":
            what = f"blocks the loop ({labels.get('state')})"
        at = f"{frame.function}  {frame.file}:{frame.line}" if frame.file else frame.function
        yield f"{_amount(sample.values[_place(profile)], unit):>10}  {what}  {at}".rstrip()
        more = [f"{name} {labels[name]}" for name in ("owner", "task") if name in labels]
        if "site" in labels:
            more.append(f"started at {labels['site']}")
        if more:
            yield f"{'':>10}  {', '.join(more)}"


def _largest(profile: Profile) -> list[Sample]:
    place = _place(profile)
    # A blocked loop first: all else waits for it.
    return sorted(
        profile.samples,
        key=lambda one: (("blocked", "loop") not in one.labels, -abs(one.values[place])),
    )[:_ROWS]


def _group(profile: Profile, sample: Sample) -> dict[str, Any]:
    return {
        "value": sample.values[_place(profile)],
        "labels": dict(sample.labels),
        "stack": [frame._asdict() for frame in sample.stack],
    }


def _own_frame(stack: Sequence[Frame]) -> Frame:
    """Return the innermost frame that is not of a library, where there is one."""
    for frame in stack:
        if frame.file and not any(marker in frame.file for marker in _LIBRARY):
            return frame
    return stack[0] if stack else Frame("?", "", 0)


def _place(profile: Profile) -> int:
    names = [name for name, _ in profile.kinds]
    return names.index(profile.default) if profile.default in names else len(names) - 1


def _shown(profile: Profile) -> tuple[str, str]:
    return profile.kinds[_place(profile)]


def _part(value: int, whole: int) -> str:
    return f"{100 * value / whole:.1f}" if whole else "-"


def _amount(value: int, unit: str) -> str:
    steps = _STEPS if unit == "nanoseconds" else _SIZES if unit == "bytes" else ()
    for size, name in steps:
        if abs(value) >= size:
            return f"{value / size:.2f} {name}"
    return f"{value:,}" if unit == "count" else f"{value:,} {'B' if unit == 'bytes' else 'ns'}"
