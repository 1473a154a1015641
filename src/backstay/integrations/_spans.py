"""What the tracing adapters share: whose child a span is, which one is current, and how one is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from functools import cache
from types import MappingProxyType, TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from backstay import context as ambient
from backstay.context import SPAN, TRACE, TraceParent, format_traceparent, parse_traceparent

__all__ = [
    "Attributes",
    "CurrentSpan",
    "below",
    "default_tracer",
    "mark_error",
    "record_done",
    "remote",
    "traceparent_of",
    "wanted",
]

Attributes = Mapping[str, str | int | float | bool]

_NAME = "backstay"
_LONGEST = 600  # of a header that is looked at


@cache
def default_tracer() -> trace.Tracer:
    """Return the tracer of the global provider; of one that is set only later, too."""
    return trace.get_tracer(_NAME)


def remote(traceparent: str) -> SpanContext | None:
    """Return the caller's span as its header names it; None when that makes no sense."""
    parent = parse_traceparent(traceparent[:_LONGEST])
    if parent is None:
        return None
    return SpanContext(
        int(parent.trace_id, 16),
        int(parent.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags & 3),  # sampled, and random
    )


def below(caller: SpanContext | None) -> otel_context.Context:
    """Return the context for a span below the caller's; for one that begins a trace, without a caller.

    Never the current context: a server's tasks inherit whatever was current when it was started.
    """
    nothing = otel_context.Context()
    if caller is None:
        return nothing
    return trace.set_span_in_context(trace.NonRecordingSpan(caller), nothing)


def traceparent_of(context: SpanContext) -> str:
    """Return the header that names a span."""
    return format_traceparent(
        TraceParent(f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags)
    )


def mark_error(record: trace.Span, error: BaseException, name: str | None = None) -> None:
    """Make a span an error: by its kind, and never by its words, in which there may be data."""
    kind = name or type(error).__name__
    record.set_attribute("error.type", kind)
    record.set_status(Status(StatusCode.ERROR, kind))


class CurrentSpan:
    """A block in which a span is the current one, of OpenTelemetry and of Backstay; it ends with the block.

    An error that leaves the block, or a cancel, makes the span an error.
    """

    __slots__ = ("_ambient", "_otel", "record")

    _ambient: Token[ambient.Context]

    def __init__(self, record: trace.Span) -> None:
        self.record = record
        self._otel: Any = None

    def __enter__(self) -> trace.Span:
        record = self.record
        context = record.get_span_context()
        self._otel = otel_context.attach(trace.set_span_in_context(record))
        around = ambient.current()
        values = dict(around.values)  # both at once: binding one after the other copies twice
        own = TraceParent(
            f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags)
        )
        values[TRACE], values[SPAN] = own.trace_id, own
        self._ambient = ambient.enter(
            ambient.Context(
                around.deadline, around.deadline_setter, around.timeout, MappingProxyType(values)
            )
        )
        return record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self.failed(error)
        finally:
            ambient.leave(self._ambient)
            otel_context.detach(self._otel)
            self.record.end()

    def failed(self, error: BaseException) -> None:
        """Say of the span what has left the block."""
        mark_error(self.record, error)
        if isinstance(error, Exception):
            self.record.record_exception(error)


def wanted(roots: bool) -> bool:
    """Tell whether an operation is to be recorded that would be a leaf: below a span that is."""
    around = trace.get_current_span()
    if around.is_recording():
        return True
    context = around.get_span_context()
    # One of our own that is not recorded was not sampled, and its leaves are not either.
    return context.is_remote if context.is_valid else roots


def record_done(
    tracer: trace.Tracer,
    name: str,
    began_ns: int,
    ended_ns: int,
    attributes: Attributes,
    error: BaseException | None = None,
) -> None:
    """Record an operation that has ended, as a span of kind "client" below the current one.

    Nothing is open while it runs: what is never told of it, is never left open.

    Args:
        tracer: of OpenTelemetry.
        name: of few different values.
        began_ns: when it began, in nanoseconds of the epoch.
        ended_ns: when it ended.
        attributes: all there is to tell.
        error: what it has raised.
    """
    record = tracer.start_span(
        name, kind=SpanKind.CLIENT, attributes=attributes, start_time=began_ns
    )
    if error is not None:
        mark_error(record, error)
    record.end(ended_ns)
