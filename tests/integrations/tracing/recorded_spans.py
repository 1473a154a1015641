"""A provider of its own for a test, what it has recorded, and what it has begun and not ended."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = ["Sink", "attributes_of", "id_of", "parent_of"]


class Sink(SpanProcessor):
    """A provider of its own, and what it has recorded.

    Attributes:
        tracer: to record with.
        open: names of the spans that have begun and not ended, by their ids.
    """

    def __init__(self, **options: Any) -> None:
        """Make it; options are for the provider."""
        self._exporter = InMemorySpanExporter()
        self.open: dict[int, str] = {}
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.provider.add_span_processor(self)
        self.tracer = self.provider.get_tracer("test")

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """Note that it is open."""
        self.open[id_of(span)] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        """Note that it has ended, which it does once."""
        del self.open[id_of(span)]

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """What has ended, in the order in which it did."""
        return tuple(self._exporter.get_finished_spans())

    def one(self, name: str, kind: Any = None) -> ReadableSpan:
        """Return the one span of a name, and of a kind where that is asked for."""
        (found,) = [
            one for one in self.spans if one.name == name and (kind is None or one.kind is kind)
        ]
        return found

    def clear(self) -> None:
        """Forget what was recorded."""
        self._exporter.clear()

    def tree(self, trace_id: int) -> dict[str, Any]:
        """Return the spans of a trace by name and kind, each with those below it; {} where there are none."""
        mine = [one for one in self.spans if one.context is not None]
        mine = [one for one in mine if one.context.trace_id == trace_id]
        known = {id_of(one) for one in mine}

        def below(parent: int | None) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for one in mine:
                if (parent_of(one) if parent_of(one) in known else None) == parent:
                    name = f"{one.name} {one.kind.name.lower()}"
                    while name in found:
                        name += " again"
                    found[name] = below(id_of(one))
            return found

        return below(None)


def id_of(span: Any) -> int:
    """Return the span id."""
    return int(span.context.span_id)


def parent_of(span: ReadableSpan) -> int | None:
    """Return the span id of the parent."""
    return None if span.parent is None else span.parent.span_id


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes as a dict that compares."""
    return dict(span.attributes or {})
