"""A profile as a flame graph and a table: added up here, so that a page draws and does not count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from backstay.observe.profile import Frame, Profile, Sample

__all__ = ["flame"]

#: Nodes of the graph, lines of the table, values of a label that are told.
_MOST_NODES: Final = 4_000
_MOST_ROWS: Final = 200
_MOST_VALUES: Final = 30
#: Narrower than this share of the whole, a node would be less than half a pixel.
_LEAST_SHARE: Final = 1 / 4_000
#: Calls of a stack that are drawn; deeper ones are recursion.
_MOST_DEPTH: Final = 200


class _Node:
    """A call in the graph, with what was counted in it and below it."""

    __slots__ = ("after", "before", "below", "own")

    def __init__(self) -> None:
        self.after = 0
        self.before = 0
        self.own = 0
        self.below: dict[Frame, _Node] = {}


def flame(
    after: Profile,
    *,
    kind: int = -1,
    before: Profile | None = None,
    label: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return the graph, the table and the labels of a profile.

    Args:
        after: the profile; of a comparison, the later one.
        kind: which of its values.
        before: what it is compared with.
        label: only samples that have this value of this label.

    Returns:
        ``nodes`` are ``[parent, frame, value, own, before]`` with the parent's place, -1 for the
        root, which stands first; ``frames`` are ``[function, file, line]``; ``rows`` are ``[frame,
        own, total, own before, total before]``, the greatest change or the greatest own value first.
    """
    root = _Node()
    table: dict[Frame, list[int]] = {}
    labels: dict[str, dict[str, int]] = {}
    for sample in after.samples:
        for name, value in sample.labels:
            values = labels.setdefault(name, {})
            values[str(value)] = values.get(str(value), 0) + abs(sample.values[kind])
    for samples, earlier in ((after.samples, False), (before.samples if before else (), True)):
        for sample in samples:
            if label is None or label in [(name, str(value)) for name, value in sample.labels]:
                _add(root, table, sample, sample.values[kind], earlier)
    frames: dict[Frame, int] = {}
    nodes, left_out = _nodes(root, frames)
    change = before is not None
    ranked = sorted(
        table.items(),
        key=lambda item: -abs(item[1][0] - item[1][2]) if change else -abs(item[1][0]),
    )
    rows = [
        [frames.setdefault(frame, len(frames)), *numbers] for frame, numbers in ranked[:_MOST_ROWS]
    ]
    return {
        "kinds": [list(one) for one in after.kinds],
        "kind": kind % len(after.kinds),
        "total": root.after,
        "before": root.before if change else None,
        "samples": len(after.samples),
        "duration_s": round(after.duration_s, 3),
        "taken_at": round(after.taken_at, 3),
        "comments": list(after.comments),
        "labels": {name: _ranked(values) for name, values in sorted(labels.items())},
        "frames": [list(one) for one in frames],
        "nodes": nodes,
        "nodes_left_out": left_out,
        "rows": rows,
    }


def _add(
    root: _Node, table: dict[Frame, list[int]], sample: Sample, value: int, earlier: bool
) -> None:
    here = root
    stack = sample.stack[::-1][:_MOST_DEPTH]
    for frame in (None, *stack):
        if frame is not None:
            here = here.below.setdefault(frame, _Node())
        if earlier:
            here.before += value
        else:
            here.after += value
    here.own += 0 if earlier else value
    shift = 2 if earlier else 0
    for frame in dict.fromkeys(stack):  # once, however often it calls itself
        table.setdefault(frame, [0, 0, 0, 0])[shift + 1] += value
    if stack:
        table[stack[-1]][shift] += value


def _nodes(root: _Node, frames: dict[Frame, int]) -> tuple[list[list[int]], int]:
    """Return the nodes, level by level, and how many were too narrow."""
    least = (abs(root.after) + abs(root.before)) * _LEAST_SHARE
    found = [[-1, -1, root.after, root.own, root.before]]
    todo: list[tuple[int, _Node]] = [(0, root)]
    left_out = 0
    for place, node in _growing(todo):
        for frame, below in sorted(node.below.items(), key=lambda item: item[0]):
            if abs(below.after) + abs(below.before) < least or len(found) >= _MOST_NODES:
                left_out += 1
                continue
            number = frames.setdefault(frame, len(frames))
            todo.append((len(found), below))
            found.append([place, number, below.after, below.own, below.before])
    return found, left_out


def _growing(todo: list[tuple[int, _Node]]) -> Iterator[tuple[int, _Node]]:
    """Yield what is there, and what is appended meanwhile."""
    at = 0
    while at < len(todo):
        yield todo[at]
        at += 1


def _ranked(values: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(values.items(), key=lambda item: -item[1])[:_MOST_VALUES]
