"""A profile for other readers than pprof: speedscope's JSON, and folded stacks for flame graphs."""

from __future__ import annotations

from typing import Any

from backstay.observe.profile._profile import Frame, Profile

__all__ = ["to_folded", "to_speedscope", "top"]

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
# What speedscope knows of units; anything else it shows as bare numbers.
_UNITS = {
    "nanoseconds": "nanoseconds",
    "microseconds": "microseconds",
    "milliseconds": "milliseconds",
    "seconds": "seconds",
    "bytes": "bytes",
}


def to_speedscope(profile: Profile, *, name: str = "backstay") -> dict[str, Any]:
    """Return the JSON document that https://www.speedscope.app opens, one view for each kind.

    What is negative in a diff is left out, as a flame graph has no place for it.
    """
    frames: dict[Frame, int] = {}
    stacks = [
        [frames.setdefault(frame, len(frames)) for frame in reversed(sample.stack)]
        for sample in profile.samples
    ]
    views: list[dict[str, Any]] = []
    for place, (kind, unit) in enumerate(profile.kinds):
        shown = [
            (stack, sample.values[place])
            for stack, sample in zip(stacks, profile.samples, strict=True)
            if sample.values[place] > 0
        ]
        views.append(
            {
                "type": "sampled",
                "name": f"{name} {kind}",
                "unit": _UNITS.get(unit, "none"),
                "startValue": 0,
                "endValue": sum(value for _, value in shown),
                "samples": [stack for stack, _ in shown],
                "weights": [value for _, value in shown],
            }
        )
    return {
        "$schema": _SCHEMA,
        "exporter": "backstay",
        "name": name,
        "activeProfileIndex": _shown_first(profile),
        "shared": {"frames": [_frame(frame) for frame in frames]},
        "profiles": views,
    }


def to_folded(profile: Profile) -> str:
    """Return a line for each stack, outermost first: ``a;b;c 42``, of the kind shown first."""
    place = _shown_first(profile)
    lines: dict[str, int] = {}
    for sample in profile.samples:
        steps = ";".join(_word(frame) for frame in reversed(sample.stack)) or "?"
        lines[steps] = lines.get(steps, 0) + sample.values[place]
    return "".join(f"{steps} {value}\n" for steps, value in lines.items() if value)


def top(profile: Profile, rows: int = 10) -> list[dict[str, Any]]:
    """Return the functions with the most of the kind shown first.

    Returns:
        For each: `function`, `file`, `line` (of the first sample met), `flat` (in the function
        itself) and `cum` (in it and in what it called), most flat first.
    """
    place = _shown_first(profile)
    flat: dict[tuple[str, str], int] = {}
    cum: dict[tuple[str, str], int] = {}
    lines: dict[tuple[str, str], int] = {}
    for sample in profile.samples:
        value = sample.values[place]
        for frame in sample.stack:
            lines.setdefault(frame[:2], frame.line)
        for function in dict.fromkeys(frame[:2] for frame in sample.stack):
            cum[function] = cum.get(function, 0) + value
        if sample.stack:
            leaf = sample.stack[0]
            flat[leaf[:2]] = flat.get(leaf[:2], 0) + value
    ranked = sorted(cum, key=lambda one: (-abs(flat.get(one, 0)), -abs(cum[one]), one))
    return [
        {
            "function": one[0],
            "file": one[1],
            "line": lines[one],
            "flat": flat.get(one, 0),
            "cum": cum[one],
        }
        for one in ranked[:rows]
    ]


def _shown_first(profile: Profile) -> int:
    names = [kind for kind, _ in profile.kinds]
    return names.index(profile.default) if profile.default in names else len(names) - 1


def _frame(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = {"name": frame.function}
    if frame.file:
        found["file"] = frame.file
    if frame.line > 0:
        found["line"] = frame.line
    return found


def _word(frame: Frame) -> str:
    place = f" ({frame.file}:{frame.line})" if frame.file else ""
    return f"{frame.function}{place}".replace(";", ":").replace("\n", " ")
