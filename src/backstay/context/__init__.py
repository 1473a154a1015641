"""The ambient context: a deadline that only shrinks, and typed values.

It is plain state: no asyncio here, no timers. The `tasks` room enforces what
this room remembers. Every asyncio task starts with a copy of its creator's
context, so what is set here reaches everything that is called or spawned.
"""

from backstay.context._context import Context, current, deadline, enter, leave, remaining
from backstay.context._keys import REQUEST_ID, SPAN, TRACE, Key, bind, carried, current_span
from backstay.context._outgoing import identity_headers, outgoing_headers, time_for_call
from backstay.context._wire import (
    BAGGAGE_HEADER,
    DEADLINE_MARKER,
    DEADLINE_MARKER_VALUE,
    REQUEST_ID_HEADER,
    TIMEOUT_HEADER,
    TRACE_HEADER,
    TraceParent,
    clean_request_id,
    format_baggage,
    format_timeout_ms,
    format_traceparent,
    new_ids,
    new_request_id,
    new_span_id,
    new_trace_id,
    parse_baggage,
    parse_grpc_timeout,
    parse_timeout_ms,
    parse_traceparent,
)

__all__ = [
    "BAGGAGE_HEADER",
    "DEADLINE_MARKER",
    "DEADLINE_MARKER_VALUE",
    "REQUEST_ID",
    "REQUEST_ID_HEADER",
    "SPAN",
    "TIMEOUT_HEADER",
    "TRACE",
    "TRACE_HEADER",
    "Context",
    "Key",
    "TraceParent",
    "bind",
    "carried",
    "clean_request_id",
    "current",
    "current_span",
    "deadline",
    "enter",
    "format_baggage",
    "format_timeout_ms",
    "format_traceparent",
    "identity_headers",
    "leave",
    "new_ids",
    "new_request_id",
    "new_span_id",
    "new_trace_id",
    "outgoing_headers",
    "parse_baggage",
    "parse_grpc_timeout",
    "parse_timeout_ms",
    "parse_traceparent",
    "remaining",
    "time_for_call",
]
