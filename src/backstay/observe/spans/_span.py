"""One span, and the trees that the spans of a trace make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["SpanRecord", "Tree", "trees"]


class SpanRecord(NamedTuple):
    """A span that has ended. Times are unix nanoseconds, as OTLP has them."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16
    parent_id: str  # "" for the first of a trace
    service: str  # `service.name` of its resource
    name: str
    kind: str  # "internal", "server", "client", "producer" or "consumer"
    start: int
    end: int
    error: str = ""  # what the status says when it is an error; "error" when it says nothing

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e9


@dataclass(slots=True)
class Tree:
    """A span with those below it, by their begin."""

    span: SpanRecord
    below: list[Tree] = field(default_factory=list["Tree"])
    orphan: bool = False  # it names a parent that is not among the spans

    def walk(self) -> Iterator[tuple[int, Tree]]:
        """Yield each span of the tree with its depth, parents before children."""
        waiting = [(0, self)]
        while waiting:
            depth, tree = waiting.pop()
            yield depth, tree
            waiting += [(depth + 1, child) for child in reversed(tree.below)]


def trees(spans: Iterable[SpanRecord]) -> list[Tree]:
    """Return the trees of some spans, by their begin.

    A span that was written twice counts once. Whatever names a parent that is not there begins a tree, and so
    does one span of a ring, since nothing keeps a file from holding such.
    """
    found: dict[tuple[str, str], Tree] = {}
    for span in spans:
        found.setdefault((span.trace_id, span.span_id), Tree(span))
    roots: list[Tree] = []
    for tree in found.values():
        parent = found.get((tree.span.trace_id, tree.span.parent_id))
        if parent is None or parent is tree:
            tree.orphan = bool(tree.span.parent_id)
            roots.append(tree)
        else:
            parent.below.append(tree)
    roots += _from_rings(found, roots)
    for tree in found.values():
        tree.below.sort(key=lambda one: one.span.start)
    return sorted(roots, key=lambda one: one.span.start)


def _from_rings(found: dict[tuple[str, str], Tree], roots: list[Tree]) -> list[Tree]:
    """Cut each ring of parents at one span, so that every span is in a tree."""
    reached = {id(tree) for root in roots for _, tree in root.walk()}
    more: list[Tree] = []
    for tree in found.values():
        if id(tree) in reached:
            continue
        parent = found[tree.span.trace_id, tree.span.parent_id]
        parent.below.remove(tree)
        tree.orphan = True
        more.append(tree)
        reached |= {id(one) for _, one in tree.walk()}
    return more
