"""The text forms of Go's contract: `debug=1` counts stacks, `debug=2` shows each task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backstay.observe.profile._profile import Profile
from backstay.observe.profile._tasks import TaskLine

__all__ = ["counted_text", "full_text"]

# Tasks shown one by one; a text of more is read by nobody, and the rest is counted.
_MOST_TASKS = 10_000


def counted_text(name: str, profile: Profile) -> str:
    """Return the samples of a profile as text, the most first: what they are, then their stack.

    Args:
        name: of the profile.
        profile: of whatever kind.
    """
    return "".join(f"{line}\n" for line in _counted(name, profile))


def _counted(name: str, profile: Profile) -> Iterator[str]:
    totals = ", ".join(
        f"{kind} {profile.total(place)}{_unit(unit)}"
        for place, (kind, unit) in enumerate(profile.kinds)
    )
    single = len(profile.kinds) == 1
    yield f"{name} profile: total {profile.total()}" if single else f"{name} profile: {totals}"
    for comment in profile.comments:
        yield f"# {comment}"
    for sample in profile.samples:
        numbers = " ".join(str(value) for value in sample.values)
        labels = " ".join(f"{key}={_word(value)}" for key, value in sample.labels)
        yield ""
        yield f"{numbers} @ {labels}".rstrip()
        for frame in sample.stack:
            yield (
                f"#\t{frame.function}\t{frame.file}:{frame.line}"
                if frame.file
                else (f"#\t{frame.function}")
            )


def full_text(lines: Iterable[TaskLine]) -> str:
    """Return each task as a stack of its own, as Go shows goroutines when it panics."""
    return "".join(f"{line}\n" for line in _full(lines))


def _full(lines: Iterable[TaskLine]) -> Iterator[str]:
    for count, line in enumerate(lines):
        if count >= _MOST_TASKS:
            yield f"… more than {_MOST_TASKS:,} tasks: the rest is left out, debug=1 counts all"
            return
        if count:
            yield ""
        about = [line.wait or line.state]
        if line.wait and line.state not in ("waiting", ""):
            about.append(line.state)
        if line.age_s is not None and line.age_s >= 60:
            about.append(f"{line.age_s / 60:.0f} minutes")
        yield f"task {line.name} [{', '.join(about)}]:"
        for frame in line.stack:
            yield f"{frame.function}(...)"
            if frame.file:
                yield f"\t{frame.file}:{frame.line}"
        if line.site:
            yield f"created by {line.function}"
            yield f"\t{line.site}"
        for name, value in (
            ("owner", line.owner),
            ("route", line.route),
            ("trace", line.trace_id or ""),
        ):
            if value:
                yield f"{name}: {value}"
        yield from line.notes


def _unit(unit: str) -> str:
    return "" if unit == "count" else f" {unit}"


def _word(value: str | int) -> str:
    """Quote a value that would not read as one word."""
    text = str(value)
    plain = text.isprintable() and " " not in text and '"' not in text
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
