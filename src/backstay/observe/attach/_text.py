"""What was seen of an unprepared process, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["look_to_text"]

_GROUPS = 100
_NAMES = 5


def look_to_text(document: Mapping[str, Any], *, stacks: bool = False) -> str:
    """Render what `look` returns: alike tasks together, most first.

    Args:
        document: of `look`.
        stacks: with the calls that the first of each group is inside of.
    """
    lines = [f"process {document['pid']}: {document['way']}"]
    if "threads" in document:
        return _printable("\n".join([*lines, "", document["threads"]]))
    left = document["injection"]["left_bytes"] if "injection" in document else 0
    if left:
        lines.append(f"{left // 1024} KiB of scratch memory had to be left in the process")
    if not document["asyncio"]:
        return _printable(lines[0] + "\nit does not use asyncio: there are no tasks\n")
    lines += [f"{document['tasks']} tasks, Python {document['python']}", ""]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for task in document["list"]:
        key = (
            task["coroutine"],
            task["definition"],
            task["state"],
            str(task["stack"]),
            task["waits_for"],
        )
        groups.setdefault(key, []).append(task)
    ranked = sorted(groups.values(), key=len, reverse=True)
    for members in ranked[:_GROUPS]:
        lines += _group(members, stacks=stacks)
    if len(ranked) > _GROUPS:
        lines.append(f"… and {len(ranked) - _GROUPS} more groups")
    return _printable("\n".join(lines) + "\n")


def _group(members: list[Mapping[str, Any]], *, stacks: bool) -> list[str]:
    first = members[0]
    names = ", ".join(task["name"] for task in members[:_NAMES]) + (
        ", …" if len(members) > _NAMES else ""
    )
    lines = [
        f"{len(members):>6} × {first['coroutine']}  ({first['definition'] or 'compiled'})  {first['state']}"
    ]
    lines.append(f"         named {names}")
    if first["stack"] and not stacks:
        lines.append(f"         at {_step(first['stack'][-1])}")
    if stacks:
        lines += [f"         at {_step(step)}" for step in first["stack"]]
    if first["waits_for"]:
        edges = first["waits_on"]
        shown = ", ".join(edges[:_NAMES]) + (", …" if len(edges) > _NAMES else "")
        lines.append(f"         waits for {first['waits_for']}" + (f" on {shown}" if edges else ""))
    return lines


def _step(step: list[Any]) -> str:
    return f"{step[0]} at {step[1]}:{step[2]}"


def _printable(text: str) -> str:
    """Show what could steer a terminal as a question mark: names are the program's, not ours."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
